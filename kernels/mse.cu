// CUDA half of Mse: one pass over x and target, a partial sum per block, then their sum in order. dx may be x.
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/mse.h"

namespace sluice::kernels {

inline constexpr int64_t kMseBlock = 8192;  // elements: which block sums what does not depend on the GPU

template <class T>
struct MseReads {
  const T *x, *target;
  int64_t n;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    mse_kernel(float* partial, T* dx, MseReads<T> in, float slope, bool packed) {
  constexpr int N = 4;
  const int64_t begin = int64_t(blockIdx.x) * kMseBlock, end = begin + kMseBlock < in.n ? begin + kMseBlock : in.n;
  float sum = 0.0f;
  const auto part = [&]<int W>(int64_t i) {
    const Pack<T, W> a = load<W>(in.x + i), b = load<W>(in.target + i);
    Pack<T, W> d;
    for (int k = 0; k < W; ++k) {
      const float difference = float(a.v[k]) - float(b.v[k]);
      sum += difference * difference;
      d.v[k] = T(slope * difference);
    }
    if (dx != nullptr) store(dx + i, d);
  };
  const int64_t whole = packed ? begin + (end - begin) / N * N : begin;
  for (int64_t i = begin + N * int64_t(threadIdx.x); i < whole; i += N * kThreads) part.template operator()<N>(i);
  for (int64_t i = whole + int64_t(threadIdx.x); i < end; i += kThreads) part.template operator()<1>(i);
  sum = block_reduce<Sum>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

void Mse::cuda(CudaContext& c) const {
  const int64_t n = x.numel(), blocks = ceil_div(n, kMseBlock);
  const float share = n == 0 ? 0.0f : weight / float(n);
  auto* partial = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, blocks)) * sizeof(float)));
  if (n > 0)
    visit_float(x.dtype, [&]<class T>() {
      launch_kernel(c, kName, mse_kernel<T>, blocks, kThreads, 0, partial, dx.as<T>(),
                    MseReads<T>{x.as<T>(), target.as<T>(), n}, 2.0f * share,
                    aligned_for(4, x.as<T>(), target.as<T>(), dx.as<T>()));
    });
  passes::sum(c, kName, partial, blocks, share, loss.as<float>());
}

}  // namespace sluice::kernels
