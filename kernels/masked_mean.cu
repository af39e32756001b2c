// CUDA halves of the masked mean. Forward: a block per sample and tile of columns, its warps take the times in turn and
// are added in order. Backward: a block per sample and as many times as it has warps, a warp per row of dx.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/masked_mean.h"

namespace sluice::kernels {

inline constexpr int kTimeWarps = kThreads / 32;

template <int N>
struct MeanParts {
  float sum[kTimeWarps][32 * N];
  int tokens[kTimeWarps];
};

template <class T>
struct Sequences {
  const T* x;
  const uint8_t* mask;  // or null
  SequenceRows rows;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) masked_mean_kernel(T* y, float* share, Sequences<T> in) {
  MeanParts<N>& parts = block_shared<MeanParts<N>>();
  const SequenceRows& s = in.rows;
  const int64_t tiles = s.cols == 0 ? 1 : ceil_div(s.cols, 32 * N), b = int64_t(blockIdx.x) / tiles;
  const int64_t tile = int64_t(blockIdx.x) - b * tiles, column = (tile * 32 + lane()) * N;
  Pack<float, N> sum{};
  int tokens = 0;
  for (int64_t t = warp(); t < s.time; t += kTimeWarps) {
    const int64_t row = b * s.batch_step + t * s.time_step;
    if (in.mask != nullptr && in.mask[row] == 0) continue;
    ++tokens;
    if (column >= s.cols) continue;
    const Pack<T, N> v = load<N>(in.x + row * s.cols + column);
    for (int k = 0; k < N; ++k) sum.v[k] += float(v.v[k]);
  }
  for (int k = 0; k < N; ++k) parts.sum[warp()][lane() * N + k] = sum.v[k];
  if (lane() == 0) parts.tokens[warp()] = tokens;
  __syncthreads();
  if (warp() != 0) return;
  tokens = 0;
  for (int w = 0; w < kTimeWarps; ++w) tokens += parts.tokens[w];
  const float factor = 1.0f / float(tokens < 1 ? 1 : tokens);
  if (tile == 0 && lane() == 0) share[b] = factor;
  if (column >= s.cols) return;
  Pack<T, N> out;
  for (int k = 0; k < N; ++k) {
    float total = 0.0f;
    for (int w = 0; w < kTimeWarps; ++w) total += parts.sum[w][lane() * N + k];
    out.v[k] = T(total * factor);
  }
  store(y + b * s.cols + column, out);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) masked_mean_grad_kernel(T* dx, const float* share, Sequences<T> dy) {
  const SequenceRows& s = dy.rows;
  const int64_t tiles = ceil_div(s.time, kTimeWarps), b = int64_t(blockIdx.x) / tiles;
  const int64_t t = (int64_t(blockIdx.x) - b * tiles) * kTimeWarps + warp();
  if (t >= s.time) return;  // whole warps
  const int64_t row = b * s.batch_step + t * s.time_step;
  const bool kept = dy.mask == nullptr || dy.mask[row] != 0;
  const float factor = kept ? share[b] : 0.0f;
  for (int64_t column = int64_t(lane()) * N; column < s.cols; column += 32 * N) {
    Pack<T, N> v;
    for (int k = 0; k < N; ++k) v.v[k] = T(0.0f);
    if (kept) {
      v = load<N>(dy.x + b * s.cols + column);
      for (int k = 0; k < N; ++k) v.v[k] = T(float(v.v[k]) * factor);
    }
    store(dx + row * s.cols + column, v);
  }
}

void MaskedMean::cuda(CudaContext& c) const {
  const SequenceRows s(x.shape, axis);
  if (s.batch == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const bool packed = s.cols % 4 == 0 && aligned_for(4, x.as<T>(), y.as<T>());
    const int64_t tiles = std::max<int64_t>(1, ceil_div(s.cols, packed ? 128 : 32));
    launch_kernel(c, kName, packed ? masked_mean_kernel<T, 4> : masked_mean_kernel<T, 1>, s.batch * tiles, kThreads, 0,
                  y.as<T>(), share.as<float>(), Sequences<T>{x.as<T>(), mask.as<uint8_t>(), s});
  });
}

void MaskedMeanGrad::cuda(CudaContext& c) const {
  const SequenceRows s(dx.shape, axis);
  if (dx.numel() == 0) return;
  visit_float(dx.dtype, [&]<class T>() {
    const bool packed = s.cols % 4 == 0 && aligned_for(4, dx.as<T>(), dy.as<T>());
    launch_kernel(c, kName, packed ? masked_mean_grad_kernel<T, 4> : masked_mean_grad_kernel<T, 1>,
                  s.batch * ceil_div(s.time, kTimeWarps), kThreads, 0, dx.as<T>(), share.as<float>(),
                  Sequences<T>{dy.as<T>(), mask.as<uint8_t>(), s});
  });
}

}  // namespace sluice::kernels
