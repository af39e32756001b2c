// CUDA halves of the 8-bit form: a block a group, an element a thread.
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/quantize.h"

namespace sluice::kernels {

static_assert(kThreads == kQuantGroup);

template <class T>
__global__ void __launch_bounds__(kThreads) quantize_kernel(uint8_t* q, float* ranges, const T* x, int64_t n) {
  const int64_t group = int64_t(blockIdx.x), i = group * kQuantGroup + int64_t(threadIdx.x);
  const float v = i < n ? float(x[i]) : 0.0f;
  const float high = block_reduce<Max>(i < n ? v : Max::kNeutral);
  const float low = -block_reduce<Max>(i < n ? -v : Max::kNeutral);
  const float step = (high - low) / 255.0f, per = step > 0.0f ? 1.0f / step : 0.0f;
  if (threadIdx.x == 0) {
    ranges[2 * group] = low;
    ranges[2 * group + 1] = step;
  }
  if (i < n) q[i] = uint8_t(quantum(v, low, per));
}

template <class T>
__global__ void __launch_bounds__(kThreads) dequantize_kernel(T* y, const uint8_t* q, const float* ranges, int64_t n) {
  const int64_t group = int64_t(blockIdx.x), i = group * kQuantGroup + int64_t(threadIdx.x);
  if (i < n) y[i] = T(ranges[2 * group] + float(q[i]) * ranges[2 * group + 1]);
}

void Quantize::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, quantize_kernel<T>, quant_groups(n), kThreads, 0, q.as<uint8_t>(), ranges.as<float>(),
                  x.as<T>(), n);
  });
}

void Dequantize::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    launch_kernel(c, kName, dequantize_kernel<T>, quant_groups(n), kThreads, 0, y.as<T>(), q.as<uint8_t>(),
                  ranges.as<float>(), n);
  });
}

}  // namespace sluice::kernels
