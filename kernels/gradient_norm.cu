// CUDA halves of SumSquares (a partial sum per block, then their sum in order) and of ClipFactor (one block).
#include "kernels/common/passes.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/gradient_norm.h"

namespace sluice::kernels {

inline constexpr int64_t kSquaresBlock = 8192;  // elements: which block sums what does not depend on the GPU

__global__ void __launch_bounds__(kThreads) sum_squares_kernel(float* partial, const float* x, int64_t n) {
  const int64_t begin = int64_t(blockIdx.x) * kSquaresBlock,
                end = begin + kSquaresBlock < n ? begin + kSquaresBlock : n;
  float sum = 0.0f;
  for (int64_t i = begin + int64_t(threadIdx.x); i < end; i += kThreads) sum += x[i] * x[i];
  sum = block_reduce<Sum>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    clip_factor_kernel(float* factor, const float* squares, int64_t n, float most) {
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += squares[i];
  sum = block_reduce<Sum>(sum);
  if (threadIdx.x == 0) *factor = detail::clip_factor(sqrtf(sum), most);
}

void SumSquares::cuda(CudaContext& c) const {
  const int64_t n = x.numel(), blocks = ceil_div(n, kSquaresBlock);
  auto* partial = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, blocks)) * sizeof(float)));
  if (n > 0) launch_kernel(c, kName, sum_squares_kernel, blocks, kThreads, 0, partial, x.as<float>(), n);
  passes::sum(c, kName, partial, blocks, 1.0f, sum.as<float>());
}

void ClipFactor::cuda(CudaContext& c) const {
  launch_kernel(c, kName, clip_factor_kernel, 1, kThreads, 0, factor.as<float>(), squares.as<float>(), squares.numel(),
                most);
}

}  // namespace sluice::kernels
