// CPU halves of the tap sums and biases: runs of pixels of one class, all channels of a pixel at once.
#include "kernels/conv_taps.h"

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

/// acc[k] += the sum of dy[pixel, k] over some neighbouring pixels; four a turn, so that acc is seldom touched.
template <class T>
void add_pixels(const T* dy, int64_t pixels, int64_t channels, float* acc) {
  int64_t i = 0;
  for (; i + 4 <= pixels; i += 4, dy += 4 * channels) {
#pragma omp simd
    for (int64_t k = 0; k < channels; ++k)
      acc[k] += (float(dy[k]) + float(dy[channels + k])) + (float(dy[2 * channels + k]) + float(dy[3 * channels + k]));
  }
  for (; i < pixels; ++i, dy += channels) {
#pragma omp simd
    for (int64_t k = 0; k < channels; ++k) acc[k] += float(dy[k]);
  }
}

/// acc [classes of rows, classes of columns, K] += one image.
template <class T>
void add_image(const T* dy, const TapGrid& g, int64_t width, int64_t channels, float* acc) {
  for (int a = 0; a < g.rows.count; ++a)
    for (int64_t p = g.rows.v[a].begin; p < g.rows.v[a].end; ++p)
      for (int b = 0; b < g.cols.count; ++b) {
        const TapClass& q = g.cols.v[b];
        add_pixels(dy + (p * width + q.begin) * channels, q.end - q.begin, channels,
                   acc + (a * g.cols.count + b) * channels);
      }
}

bool inside(const TapClass& c, int64_t tap) { return tap >= c.first && tap < c.last; }

}  // namespace

template <>
void TapTotals::cpu<kIsa>(CpuContext&) const {
  const int64_t window = taps.dim(1) * taps.dim(2);
  for (int64_t k = 0; k < taps.dim(0); ++k) {
    float sum = bias.defined() ? bias.as<float>()[k] : 0.0f;
    for (int64_t t = 0; t < window; ++t) sum += taps.as<float>()[k * window + t];
    y.as<float>()[k] = sum;
  }
}

template <>
void TapBorder::cpu<kIsa>(CpuContext& c) const {
  const TapGrid g = tap_grid(kName, y.shape, taps.shape, image, geometry);
  const int64_t channels = y.dim(3), height = y.dim(1), width = y.dim(2), r = taps.dim(1), s = taps.dim(2);
  auto* missing = static_cast<float*>(c.workspace(size_t(g.rows.count * g.cols.count * channels) * sizeof(float)));
  for (int a = 0; a < g.rows.count; ++a)
    for (int b = 0; b < g.cols.count; ++b)
      for (int64_t k = 0; k < channels; ++k) {
        float sum = 0.0f;
        for (int64_t t = 0; t < r * s; ++t)
          if (!inside(g.rows.v[a], t / s) || !inside(g.cols.v[b], t % s)) sum += taps.as<float>()[k * r * s + t];
        missing[(a * g.cols.count + b) * channels + k] = sum;
      }
  visit_float(y.dtype, [&]<class T>() {
    parallel_for(c, y.dim(0), [&](int64_t n) {
      for (int a = 0; a < g.rows.count; ++a)
        for (int b = 0; b < g.cols.count; ++b) {
          if (is_whole(g.rows.v[a], int(r)) && is_whole(g.cols.v[b], int(s))) continue;
          const float* less = missing + (a * g.cols.count + b) * channels;
          for (int64_t p = g.rows.v[a].begin; p < g.rows.v[a].end; ++p)
            for (int64_t q = g.cols.v[b].begin; q < g.cols.v[b].end; ++q) {
              T* at = y.as<T>() + ((n * height + p) * width + q) * channels;
              for (int64_t k = 0; k < channels; ++k) store(at[k], float(at[k]) - less[k]);
            }
        }
    });
  });
}

template <>
void TapSums::cpu<kIsa>(CpuContext& c) const {
  const TapGrid g = tap_grid(kName, dy.shape, sums.shape, image, geometry);
  const int64_t images = dy.dim(0), channels = dy.dim(3), width = dy.dim(2), pixels = dy.dim(1) * width;
  const int64_t classes = g.rows.count * g.cols.count, size = classes * channels;
  const int64_t group = std::max<int64_t>(1, (images + 63) / 64), groups = (images + group - 1) / group;
  auto* total =
      static_cast<double*>(c.workspace(size_t(size) * sizeof(double) + size_t(groups * size) * sizeof(float)));
  auto* parts = reinterpret_cast<float*>(total + size);
  visit_float(dy.dtype, [&]<class T>() {
    parallel_for(c, groups, [&](int64_t i) {
      float* part = parts + i * size;
      std::fill_n(part, size, 0.0f);
      for (int64_t n = i * group; n < std::min(images, (i + 1) * group); ++n)
        add_image(dy.as<T>() + n * pixels * channels, g, width, channels, part);
    });
  });
  std::fill_n(total, size, 0.0);
  for (int64_t i = 0; i < groups; ++i)  // in order
    for (int64_t j = 0; j < size; ++j) total[j] += double(parts[i * size + j]);
  const int64_t r = sums.dim(1), s = sums.dim(2);
  for (int64_t k = 0; k < channels; ++k) {
    for (int64_t t = 0; t < r * s; ++t) {
      double sum = 0.0;
      for (int64_t i = 0; i < classes; ++i)
        if (inside(g.rows.v[i / g.cols.count], t / s) && inside(g.cols.v[i % g.cols.count], t % s))
          sum += total[i * channels + k];
      sums.as<float>()[k * r * s + t] = float(sum);
    }
    if (!db.defined()) continue;
    double all = 0.0;
    for (int64_t i = 0; i < classes; ++i) all += total[i * channels + k];
    float& b = db.as<float>()[k];
    b = accumulate_b ? b + float(all) : float(all);
  }
}

}  // namespace sluice::kernels
