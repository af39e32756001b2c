// CUDA halves of the log-softmax: a warp per row, read again while it is in L1. y may be x; dx may be dy.
#include "kernels/common/math.h"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"
#include "kernels/log_softmax.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads) log_softmax_kernel(T* y, const T* x, int64_t rows, int64_t cols) {
  const int64_t row = global_thread() / 32;
  if (row >= rows) return;  // whole warps
  const T* in = x + row * cols;
  float top = Max::kNeutral;
  for (int64_t k = lane(); k < cols; k += 32) top = Max::combine(float(in[k]), top);  // a NaN is left to the sum
  top = warp_reduce<Max>(top);
  float sum = 0.0f;
  for (int64_t k = lane(); k < cols; k += 32) sum += math::exp(float(in[k]) - top);
  const float log_sum = math::log(warp_reduce<Sum>(sum));
  for (int64_t k = lane(); k < cols; k += 32) y[row * cols + k] = T((float(in[k]) - top) - log_sum);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    log_softmax_grad_kernel(T* dx, const T* y, const T* dy, int64_t rows, int64_t cols) {
  const int64_t row = global_thread() / 32;
  if (row >= rows) return;  // whole warps
  float sum = 0.0f;
  for (int64_t k = lane(); k < cols; k += 32) sum += float(dy[row * cols + k]);
  sum = warp_reduce<Sum>(sum);
  for (int64_t k = lane(); k < cols; k += 32) {
    const int64_t i = row * cols + k;
    dx[i] = T(float(dy[i]) - math::exp(float(y[i])) * sum);
  }
}

void LogSoftmax::cuda(CudaContext& c) const {
  const int64_t rows = x.shape.rows(), cols = x.shape.cols();
  if (x.numel() == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, log_softmax_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, y.as<T>(), x.as<T>(),
                  rows, cols);
  });
}

void LogSoftmaxGrad::cuda(CudaContext& c) const {
  const int64_t rows = dy.shape.rows(), cols = dy.shape.cols();
  if (dy.numel() == 0) return;
  visit_float(dy.dtype, [&]<class T>() {
    launch_kernel(c, kName, log_softmax_grad_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, dx.as<T>(),
                  y.as<T>(), dy.as<T>(), rows, cols);
  });
}

}  // namespace sluice::kernels
