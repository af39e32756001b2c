// CUDA halves of positions: one pass over what is written; backward column sums of [B, T D], then one over the
// gradients.
#include "kernels/add_positions.h"
#include "kernels/common/passes.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

struct PositionShape {
  int64_t length, cols, extra;  // T, D, tokens before x's
};
template <class T>
struct PositionReads {
  const T* x;
  const float *positions, *token;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    add_positions_kernel(T* y, PositionReads<T> in, int64_t n, PositionShape z) {
  for (int64_t i = global_thread() * N; i < n; i += grid_threads() * N) {
    const int64_t row = i / z.cols, j = i - row * z.cols, sample = row / z.length, t = row - sample * z.length;
    const Pack<float, N> add = load<N>(in.positions + t * z.cols + j);
    Pack<T, N> out;
    if (t < z.extra) {
      const Pack<float, N> v = load<N>(in.token + j);
      for (int k = 0; k < N; ++k) out.v[k] = T(v.v[k] + add.v[k]);
    } else {
      const Pack<T, N> v = load<N>(in.x + i - (sample + 1) * z.extra * z.cols);
      for (int k = 0; k < N; ++k) out.v[k] = T(float(v.v[k]) + add.v[k]);
    }
    store(y + i, out);
  }
}

struct PositionSums {
  const float* sums;
  int64_t cols, token_cols;
  bool accumulate_positions, accumulate_token;
};

__global__ void __launch_bounds__(kThreads)
    add_positions_grad_kernel(float* dpositions, float* dtoken, PositionSums s) {
  for (int64_t i = global_thread(); i < s.cols; i += grid_threads()) {
    const float sum = s.sums[i];
    dpositions[i] = s.accumulate_positions ? dpositions[i] + sum : sum;
    if (i < s.token_cols) dtoken[i] = s.accumulate_token ? dtoken[i] + sum : sum;
  }
}

void AddPositions::cuda(CudaContext& c) const {
  const int64_t n = y.numel(), cols = y.dim(2);
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const bool packed = cols % 4 == 0 && aligned_for(4, x.as<T>(), y.as<T>()) &&
                        aligned_for(4, positions.as<float>(), token.as<float>());
    const Grid g = grid_for(c, packed ? n / 4 : n);
    launch_kernel(c, kName, packed ? add_positions_kernel<T, 4> : add_positions_kernel<T, 1>, g.blocks, g.threads, 0,
                  y.as<T>(), PositionReads<T>{x.as<T>(), positions.as<float>(), token.as<float>()}, n,
                  PositionShape{y.dim(1), cols, token.defined() ? 1 : 0});
  });
}

void AddPositionsGrad::cuda(CudaContext& c) const {
  const int64_t cols = dpositions.numel();
  if (cols == 0) return;
  const ConstRef rows{{dy.data, {dy.dim(0), cols}, dy.dtype}};
  const size_t own = passes::padded(size_t(cols) * sizeof(float));
  auto* scratch = static_cast<std::byte*>(c.workspace(own + passes::column_sums_workspace(rows)));
  const Ref sums{{scratch, {cols}, DType::kF32}};
  passes::column_sums(c, kName, rows, sums, false, scratch + own);
  const Grid g = grid_for(c, cols);
  launch_kernel(c, kName, add_positions_grad_kernel, g.blocks, g.threads, 0, dpositions.as<float>(), dtoken.as<float>(),
                PositionSums{sums.as<float>(), cols, dtoken.defined() ? dtoken.numel() : 0, accumulate_positions,
                             accumulate_token});
}

}  // namespace sluice::kernels
