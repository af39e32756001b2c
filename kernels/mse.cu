// CUDA half of Mse: one pass over x and target, a partial sum per block, then their sum in order; a warp per row
// where rows have weights. dx may be x.
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

template <class T>
struct WeightedRows {
  MseReads<T> in;
  const float* weights;  // [rows]
  int64_t rows, cols;
};

/// A warp per row.
template <class T>
__global__ void __launch_bounds__(kThreads) mse_rows_kernel(float* partial, T* dx, WeightedRows<T> rows, float share) {
  const int64_t row = global_thread() / 32, begin = row * rows.cols;
  if (row >= rows.rows) return;  // whole warps
  const float weight = rows.weights[row], slope = 2.0f * share * weight;
  float sum = 0.0f;
  for (int64_t i = begin + lane(); i < begin + rows.cols; i += 32) {
    const float difference = float(rows.in.x[i]) - float(rows.in.target[i]);
    sum += difference * difference;
    if (dx != nullptr) dx[i] = T(slope * difference);
  }
  sum = warp_reduce<Sum>(sum);
  if (lane() == 0) partial[row] = weight * sum;
}

namespace {
void weighted_rows(const Mse& call, CudaContext& c) {
  const int64_t rows = call.x.shape.rows(), cols = call.x.shape.cols();
  const float share = call.weight / float(std::max<int64_t>(1, cols));
  auto* partial = static_cast<float*>(c.workspace(size_t(std::max<int64_t>(1, rows)) * sizeof(float)));
  if (rows > 0)
    visit_float(call.x.dtype, [&]<class T>() {
      const MseReads<T> in{call.x.as<T>(), call.target.as<T>(), call.x.numel()};
      launch_kernel(c, Mse::kName, mse_rows_kernel<T>, ceil_div(rows * 32, kThreads), kThreads, 0, partial,
                    call.dx.as<T>(), WeightedRows<T>{in, call.row_weights.as<float>(), rows, cols}, share);
    });
  passes::sum(c, Mse::kName, partial, rows, share, call.loss.as<float>());
}
}  // namespace

void Mse::cuda(CudaContext& c) const {
  if (row_weights.defined()) return weighted_rows(*this, c);
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
