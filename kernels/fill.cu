// CUDA halves of the fills: 16 bytes a thread; random numbers four at a time, one Philox draw.
#include "kernels/common/normal.h"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/fill.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads) fill_constant_kernel(T* y, int64_t n, T value, bool packed) {
  for_packs<kPack<T>>(n, packed, [=]<int N>(int64_t i) {
    Pack<T, N> v;
    for (int k = 0; k < N; ++k) v.v[k] = value;
    store(y + i, v);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    fill_uniform_kernel(T* y, int64_t n, float low, float high, PhiloxKey key, bool packed) {
  for_packs<4>(n, packed, [=]<int N>(int64_t i) {
    const Philox4 words = philox(key, uint64_t(i / 4), 0);
    Pack<T, N> v;
    for (int k = 0; k < N; ++k) v.v[k] = T(low + (high - low) * uniform(words.v[(i + k) % 4]));
    store(y + i, v);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads) fill_normal_kernel(T* y, int64_t n, FillNormal call, bool packed) {
  for_packs<4>(n, packed, [=]<int N>(int64_t i) {
    const Normal4 draws = normal_within(call.cut, call.key, uint64_t(i / 4));
    Pack<T, N> v;
    for (int k = 0; k < N; ++k) v.v[k] = T(call.mean + call.deviation * draws.v[(i + k) % 4]);
    store(y + i, v);
  });
}

void FillConstant::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  const auto fill = [&]<class T>(T v) {
    const Grid g = grid_for(c, ceil_div(n, kPack<T>));
    launch_kernel(c, kName, fill_constant_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), n, v,
                  aligned_for(kPack<T>, y.as<T>()));
  };
  if (y.dtype == DType::kI32) return fill(int32_t(value));
  visit_float(y.dtype, [&]<class T>() { fill(T(value)); });
}

void FillUniform::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    const Grid g = grid_for(c, ceil_div(n, 4));
    launch_kernel(c, kName, fill_uniform_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), n, low, high, key,
                  aligned_for(4, y.as<T>()));
  });
}

void FillNormal::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    const Grid g = grid_for(c, ceil_div(n, 4));
    launch_kernel(c, kName, fill_normal_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), n, *this,
                  aligned_for(4, y.as<T>()));
  });
}

}  // namespace sluice::kernels
