// CPU halves of max pooling: channels innermost; windows of 2x2 at stride 2 that tile the image have their own path.
#include "kernels/max_pool.h"

#include "kernels/common/math.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kTile = 64;  // channels whose float sums stay in registers or L1

bool tiles_by_two(const Pool2d& p, const Shape& x) {
  return p.window_h == 2 && p.window_w == 2 && p.stride == 2 && p.padding == 0 && x[1] % 2 == 0 && x[2] % 2 == 0;
}

/// Lets v take the place of the best so far. Bit operations throughout: g++ would make branches of two selects by
/// one condition, and not vectorise.
inline void challenge(float v, int32_t k, float& best, int32_t& winner) {
  const int32_t wins = -(int32_t(v > best) | int32_t(v != v));
  best = math::from_bits((math::to_bits(v) & wins) | (math::to_bits(best) & ~wins));
  winner = (k & wins) | (winner & ~wins);
}

/// f.operator()<n>(ch) for runs of n channels, n known to the compiler: a loop whose narrowest type is a byte would
/// else be vectorised for 64 channels only, and run element by element with fewer.
template <class F>
void for_runs(int64_t channels, F&& f) {
  int64_t ch = 0;
  for (; ch + 64 <= channels; ch += 64) f.template operator()<64>(ch);
  for (; ch + 16 <= channels; ch += 16) f.template operator()<16>(ch);
  for (; ch + 8 <= channels; ch += 8) f.template operator()<8>(ch);
  for (; ch < channels; ++ch) f.template operator()<1>(ch);
}

/// One output row from two input rows, `width` outputs of `channels`.
template <bool kIndex, class T>
void row_by_two(const T* x, T* y, uint8_t* index, int64_t width, int64_t channels) {
  const int64_t line = 2 * width * channels;
  for (int64_t q = 0; q < width; ++q) {
    for_runs(channels, [&]<int kRun>(int64_t ch) {
      const T *a = x + 2 * q * channels + ch, *b = a + channels, *c = a + line, *d = c + channels;
      const int64_t at = q * channels + ch;
      int32_t winners[kRun];
#pragma omp simd
      for (int i = 0; i < kRun; ++i) {
        float best = float(a[i]);
        int32_t winner = 0;
        challenge(float(b[i]), 1, best, winner);
        challenge(float(c[i]), 2, best, winner);
        challenge(float(d[i]), 3, best, winner);
        store(y[at + i], best);
        winners[i] = winner;
      }
      if constexpr (kIndex)
        for (int i = 0; i < kRun; ++i) index[at + i] = uint8_t(winners[i]);
    });
  }
}

/// Where a window lies: image, and its first row and column, which may be outside.
struct Window {
  int64_t n, top, left;
};

/// One output position: the window cut at the image's edges, elements in order.
template <bool kIndex, class T>
void window_max(const Pool2d& p, const ConstRef& x, const Window& at, T* y, uint8_t* index) {
  const auto [n, top, left] = at;
  const int64_t height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  bool first = true;
  for (int64_t h = std::max<int64_t>(0, top); h < std::min(height, top + p.window_h); ++h)
    for (int64_t w = std::max<int64_t>(0, left); w < std::min(width, left + p.window_w); ++w) {
      const T* in = x.as<T>() + ((n * height + h) * width + w) * channels;
      const uint8_t k = uint8_t((h - top) * p.window_w + (w - left));
      if (first) {
        std::copy_n(in, channels, y);
        if constexpr (kIndex) std::fill_n(index, channels, k);
        first = false;
        continue;
      }
#pragma omp simd
      for (int64_t ch = 0; ch < channels; ++ch) {
        float best = float(y[ch]);
        int32_t winner = kIndex ? index[ch] : 0;
        challenge(float(in[ch]), k, best, winner);
        store(y[ch], best);
        if constexpr (kIndex) index[ch] = uint8_t(winner);
      }
    }
}

template <bool kIndex, class T>
void max_rows(CpuContext& c, const MaxPool& call) {
  const Shape& in = call.x.shape;
  const int64_t height = call.y.dim(1), width = call.y.dim(2), channels = in[3];
  const bool fast = tiles_by_two(call.pool, in);
  parallel_for(c, in[0] * height, [&](int64_t row) {
    T* y = call.y.as<T>() + row * width * channels;
    uint8_t* index = kIndex ? call.index.as<uint8_t>() + row * width * channels : nullptr;
    if (fast) return row_by_two<kIndex>(call.x.as<T>() + row * 4 * width * channels, y, index, width, channels);
    const int64_t top = row % height * call.pool.stride - call.pool.padding;
    for (int64_t q = 0; q < width; ++q)
      window_max<kIndex>(call.pool, call.x, {row / height, top, q * call.pool.stride - call.pool.padding},
                         y + q * channels, index + (kIndex ? q * channels : 0));
  });
}

/// Two rows of dx from one row of dy: every element belongs to one window.
template <class T>
void grad_row_by_two(const T* dy, const uint8_t* index, T* dx, int64_t width, int64_t channels) {
  const int64_t line = 2 * width * channels;
  for (int64_t q = 0; q < width; ++q) {
    for_runs(channels, [&]<int kRun>(int64_t ch) {
      T *a = dx + 2 * q * channels + ch, *b = a + channels, *c = a + line, *d = c + channels;
      const int64_t at = q * channels + ch;
      int32_t winners[kRun];
      for (int i = 0; i < kRun; ++i) winners[i] = index[at + i];
#pragma omp simd
      for (int i = 0; i < kRun; ++i) {
        const float v = float(dy[at + i]);
        store(a[i], winners[i] == 0 ? v : 0.0f);
        store(b[i], winners[i] == 1 ? v : 0.0f);
        store(c[i], winners[i] == 2 ? v : 0.0f);
        store(d[i], winners[i] == 3 ? v : 0.0f);
      }
    });
  }
}

/// One position of dx: the windows over it, in order.
template <class T>
void gather(const MaxPoolGrad& call, int64_t n, int64_t h, int64_t w, T* dx) {
  const Pool2d& p = call.pool;
  const int64_t rows = call.dy.dim(1), cols = call.dy.dim(2), channels = call.dy.dim(3);
  const auto first = [&](int64_t at, int window) {
    return std::max<int64_t>(0, (at + p.padding - window + p.stride) / p.stride);
  };
  for (int64_t begin = 0; begin < channels; begin += kTile) {
    const int64_t count = std::min(kTile, channels - begin);
    float sum[kTile] = {};
    for (int64_t i = first(h, p.window_h); i < std::min(rows, (h + p.padding) / p.stride + 1); ++i)
      for (int64_t j = first(w, p.window_w); j < std::min(cols, (w + p.padding) / p.stride + 1); ++j) {
        const int64_t at = ((n * rows + i) * cols + j) * channels + begin;
        const int32_t k = int32_t((h + p.padding - i * p.stride) * p.window_w + (w + p.padding - j * p.stride));
        const T* dy = call.dy.as<T>() + at;
        const uint8_t* index = call.index.as<uint8_t>() + at;
#pragma omp simd
        for (int64_t ch = 0; ch < count; ++ch) sum[ch] += int32_t(index[ch]) == k ? float(dy[ch]) : 0.0f;
      }
#pragma omp simd
    for (int64_t ch = 0; ch < count; ++ch) store(dx[begin + ch], sum[ch]);
  }
}

}  // namespace

template <>
void MaxPool::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    if (index.defined()) return max_rows<true, T>(c, *this);
    max_rows<false, T>(c, *this);
  });
}

template <>
void MaxPoolGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t height = dx.dim(1), width = dx.dim(2), channels = dx.dim(3);
  visit_float(dy.dtype, [&]<class T>() {
    if (tiles_by_two(pool, dx.shape))
      return parallel_for(c, dy.dim(0) * dy.dim(1), [&, line = dy.dim(2) * channels](int64_t row) {
        grad_row_by_two(dy.as<T>() + row * line, index.as<uint8_t>() + row * line, dx.as<T>() + row * 4 * line,
                        dy.dim(2), channels);
      });
    parallel_for(c, dx.dim(0) * height, [&](int64_t row) {
      for (int64_t w = 0; w < width; ++w)
        gather(*this, row / height, row % height, w, dx.as<T>() + (row * width + w) * channels);
    });
  });
}

}  // namespace sluice::kernels
