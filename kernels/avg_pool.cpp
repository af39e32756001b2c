// CPU halves of average pooling: channels innermost, sums in float over tiles of channels.
#include "kernels/avg_pool.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kTile = 64;  // channels whose float sums stay in registers or L1

/// Positions [begin, end) along one axis.
struct Span {
  int64_t begin, end;
};
/// The pixels of window `i`.
Span pixels(int64_t i, int window, const Pool2d& p, int64_t size) {
  const int64_t at = i * p.stride - p.padding;
  return {std::max<int64_t>(0, at), std::min(size, at + window)};
}
/// The windows over pixel `at`.
Span windows(int64_t at, int window, const Pool2d& p, int64_t count) {
  return {std::max<int64_t>(0, (at + p.padding - window + p.stride) / p.stride),
          std::min(count, (at + p.padding) / p.stride + 1)};
}

/// out = sum of `in` over the rows and columns of image n, divided by `divisor`.
template <class T>
void mean_over(const ConstRef& in, int64_t n, Span rows, Span cols, float divisor, T* out) {
  const int64_t height = in.dim(1), width = in.dim(2), channels = in.dim(3);
  for (int64_t begin = 0; begin < channels; begin += kTile) {
    const int64_t count = std::min(kTile, channels - begin);
    float sum[kTile] = {};
    for (int64_t h = rows.begin; h < rows.end; ++h)
      for (int64_t w = cols.begin; w < cols.end; ++w) {
        const T* x = in.as<T>() + ((n * height + h) * width + w) * channels + begin;
#pragma omp simd
        for (int64_t ch = 0; ch < count; ++ch) sum[ch] += float(x[ch]);
      }
#pragma omp simd
    for (int64_t ch = 0; ch < count; ++ch) store(out[begin + ch], sum[ch] / divisor);
  }
}

}  // namespace

template <>
void AvgPool::cpu<kIsa>(CpuContext& c) const {
  const int64_t height = y.dim(1), width = y.dim(2);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, y.dim(0) * height, [&](int64_t row) {
      for (int64_t q = 0; q < width; ++q)
        mean_over(x, row / height, pixels(row % height, pool.window_h, pool, x.dim(1)),
                  pixels(q, pool.window_w, pool, x.dim(2)), float(pool.window_h * pool.window_w),
                  y.as<T>() + (row * width + q) * y.dim(3));
    });
  });
}

template <>
void AvgPoolGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t height = dx.dim(1), width = dx.dim(2);
  visit_float(dy.dtype, [&]<class T>() {
    parallel_for(c, dx.dim(0) * height, [&](int64_t row) {
      for (int64_t w = 0; w < width; ++w)
        mean_over(dy, row / height, windows(row % height, pool.window_h, pool, dy.dim(1)),
                  windows(w, pool.window_w, pool, dy.dim(2)), float(pool.window_h * pool.window_w),
                  dx.as<T>() + (row * width + w) * dx.dim(3));
    });
  });
}

}  // namespace sluice::kernels
