// CUDA half of the learning indicator: a block a row.
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/learning_indicator.h"

namespace sluice::kernels {

template <class T>
struct IndicatorReads {
  const T *x, *residual;
  const float* vector;
  int64_t count, channels;
  float epsilon, of_zero;

  __device__ Activations at(int64_t row, int64_t i) const {
    const float v = float(x[row * count + i]);
    if (residual != nullptr) return {v, float(residual[row * count + i])};
    if (vector == nullptr) return with_sign(v, epsilon, of_zero);
    const float a = vector[i % channels];
    return {v + a, a};
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) learning_indicator_kernel(float* y, IndicatorReads<T> in) {
  const int64_t row = int64_t(blockIdx.x);
  float above = 0.0f, below = 0.0f;
  for (int64_t i = int64_t(threadIdx.x); i < in.count; i += kThreads) {
    const Activations v = in.at(row, i);
    above += v.a * (2.0f * v.h - v.a);
    below += v.h * v.h;
  }
  above = block_reduce<Sum>(above);
  below = block_reduce<Sum>(below);
  if (threadIdx.x == 0) y[row] = above / (below + 1e-6f);
}

void LearningIndicator::cuda(CudaContext& c) const {
  const int64_t rows = y.dim(0);
  if (rows == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, learning_indicator_kernel<T>, rows, kThreads, 0, y.as<float>(),
                  IndicatorReads<T>{x.as<T>(), residual.as<T>(), vector.as<float>(), x.numel() / rows, x.shape.cols(),
                                    epsilon, of_zero});
  });
}

}  // namespace sluice::kernels
