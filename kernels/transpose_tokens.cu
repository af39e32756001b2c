// CUDA half of TransposeTokens: a block turns a square of 32 in shared memory, so that reads and writes are in order.
#include "kernels/common/device.cuh"
#include "kernels/common/visit.h"
#include "kernels/transpose_tokens.h"

namespace sluice::kernels {

constexpr int kTurnedSquare = 32;

struct TurnedSquare {
  float v[kTurnedSquare][kTurnedSquare + 1];  // the last column keeps a column's elements in different banks
};
struct TurnedShape {
  int64_t rows, cols;    // of x
  int64_t down, across;  // squares
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    transpose_tokens_kernel(T* y, const T* x, const T* residual, TurnedShape z) {
  TurnedSquare& square = block_shared<TurnedSquare>();
  const int64_t squares = z.down * z.across, sample = int64_t(blockIdx.x) / squares;
  const int64_t place = int64_t(blockIdx.x) - sample * squares, base = sample * z.rows * z.cols;
  const int64_t row = place / z.across * kTurnedSquare, column = (place - place / z.across * z.across) * kTurnedSquare;
  for (int i = warp(); i < kTurnedSquare; i += kThreads / 32)
    if (row + i < z.rows && column + lane() < z.cols)
      square.v[i][lane()] = float(x[base + (row + i) * z.cols + column + lane()]);
  __syncthreads();
  for (int i = warp(); i < kTurnedSquare; i += kThreads / 32) {
    if (column + i >= z.cols || row + lane() >= z.rows) continue;
    const int64_t at = base + (column + i) * z.rows + row + lane();
    y[at] = T(square.v[lane()][i] + (residual == nullptr ? 0.0f : float(residual[at])));
  }
}

void TransposeTokens::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  const int64_t rows = x.dim(1), cols = x.dim(2);
  const TurnedShape z{rows, cols, ceil_div(rows, kTurnedSquare), ceil_div(cols, kTurnedSquare)};
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, transpose_tokens_kernel<T>, x.dim(0) * z.down * z.across, kThreads, 0, y.as<T>(), x.as<T>(),
                  residual.as<T>(), z);
  });
}

}  // namespace sluice::kernels
