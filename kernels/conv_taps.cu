// CUDA halves of the tap sums and biases. The sums: a thread per channel, class of pixels and part of the images adds
// in a register, so that each pixel is read once; a second kernel adds the parts.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/conv_taps.h"

namespace sluice::kernels {

struct TapWindow {
  int rows, cols;
};
/// Of dy or y: [n, h, w, c].
struct TapImages {
  int64_t n, h, w, c;
};

__device__ inline bool inside(const TapClass& c, int64_t tap) { return tap >= c.first && tap < c.last; }

__global__ void __launch_bounds__(kThreads)
    tap_totals_kernel(float* y, const float* taps, const float* bias, int64_t filters, int64_t window) {
  const int64_t k = global_thread();
  if (k >= filters) return;
  float sum = bias != nullptr ? bias[k] : 0.0f;
  for (int64_t t = 0; t < window; ++t) sum += taps[k * window + t];
  y[k] = sum;
}

__device__ inline TapClass class_of(const TapClasses& c, int64_t at) {
  int i = 0;
  while (c.v[i].end <= at) ++i;
  return c.v[i];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    tap_border_kernel(T* y, const float* taps, TapGrid g, TapImages shape, TapWindow w) {
  for (int64_t i = global_thread(); i < shape.n * shape.h * shape.w * shape.c; i += grid_threads()) {
    const int64_t k = i % shape.c, pixel = i / shape.c;
    const TapClass row = class_of(g.rows, pixel / shape.w % shape.h), col = class_of(g.cols, pixel % shape.w);
    if (is_whole(row, w.rows) && is_whole(col, w.cols)) continue;
    float sum = 0.0f;
    for (int r = 0; r < w.rows; ++r)
      for (int s = 0; s < w.cols; ++s)
        if (!inside(row, r) || !inside(col, s)) sum += taps[(k * w.rows + r) * w.cols + s];
    y[i] = T(float(y[i]) - sum);
  }
}

/// Partial results [parts, classes, K]: a block for each part of the images, class and tile of the channels.
template <class T>
__global__ void __launch_bounds__(kThreads)
    tap_class_sums_kernel(float* partial, const T* dy, TapGrid g, TapImages shape, int64_t images) {
  const int64_t tiles = ceil_div(shape.c, kThreads), classes = int64_t(g.rows.count) * g.cols.count;
  const int64_t slice = int64_t(blockIdx.x) / tiles, part = slice / classes;  // slice: of partial
  const int64_t k = (int64_t(blockIdx.x) - slice * tiles) * kThreads + int64_t(threadIdx.x);
  if (k >= shape.c) return;
  const int at = int(slice - part * classes);
  const TapClass row = g.rows.v[at / g.cols.count], col = g.cols.v[at % g.cols.count];
  const int64_t first = part * images, left = shape.n - first;
  const int64_t rows = row.end - row.begin, lines = (left < images ? left : images) * rows;
  const int pixels = int(col.end - col.begin);
  const T* from = dy + ((first * shape.h + row.begin) * shape.w + col.begin) * shape.c + k;
  float sum = 0.0f;
  for (int64_t line = 0; line < lines; ++line) {
    const T* pixel = from + (line / rows * shape.h + line % rows) * shape.w * shape.c;
    for (int q = 0; q < pixels; ++q, pixel += shape.c) sum += float(*pixel);
  }
  partial[slice * shape.c + k] = sum;
}

struct TapPartials {
  const float* at;
  int64_t parts, channels;
};

/// A thread for each tap of each filter, and one more for db.
__global__ void __launch_bounds__(kThreads)
    tap_sums_kernel(float* sums, float* db, TapPartials in, TapGrid g, TapWindow w, bool accumulate) {
  const int window = w.rows * w.cols;
  const int64_t i = global_thread(), k = i / (window + 1);
  const int t = int(i - k * (window + 1));
  if (k >= in.channels || (t == window && db == nullptr)) return;
  float sum = 0.0f;
  for (int a = 0; a < g.rows.count; ++a)
    for (int b = 0; b < g.cols.count; ++b) {
      if (t < window && (!inside(g.rows.v[a], t / w.cols) || !inside(g.cols.v[b], t % w.cols))) continue;
      for (int64_t part = 0; part < in.parts; ++part)
        sum += in.at[((part * g.rows.count + a) * g.cols.count + b) * in.channels + k];
    }
  if (t < window)
    sums[k * window + t] = sum;
  else
    db[k] = accumulate ? db[k] + sum : sum;
}

namespace {
TapImages images_of(const Shape& s) { return {s[0], s[1], s[2], s[3]}; }
}  // namespace

void TapTotals::cuda(CudaContext& c) const {
  const int64_t filters = taps.dim(0);
  if (filters == 0) return;
  launch_kernel(c, kName, tap_totals_kernel, ceil_div(filters, kThreads), kThreads, 0, y.as<float>(), taps.as<float>(),
                bias.as<float>(), filters, taps.dim(1) * taps.dim(2));
}

void TapBorder::cuda(CudaContext& c) const {
  if (border_pixels() == 0 || y.dim(3) == 0) return;
  const TapGrid g = tap_grid(kName, y.shape, taps.shape, image, geometry);
  visit_float(y.dtype, [&]<class T>() {
    const Grid grid = grid_for(c, y.numel());
    launch_kernel(c, kName, tap_border_kernel<T>, grid.blocks, grid.threads, 0, y.as<T>(), taps.as<float>(), g,
                  images_of(y.shape), TapWindow{int(taps.dim(1)), int(taps.dim(2))});
  });
}

void TapSums::cuda(CudaContext& c) const {
  const int64_t channels = dy.dim(3), images = dy.dim(0);
  if (channels == 0) return;
  const TapGrid g = tap_grid(kName, dy.shape, sums.shape, image, geometry);
  const int64_t each = std::max<int64_t>(1, ceil_div(images, 256)), parts = ceil_div(images, each);
  auto* partial =
      static_cast<float*>(c.workspace(size_t(parts * g.rows.count * g.cols.count * channels) * sizeof(float)));
  if (parts > 0)
    visit_float(dy.dtype, [&]<class T>() {
      launch_kernel(c, kName, tap_class_sums_kernel<T>,
                    parts * g.rows.count * g.cols.count * ceil_div(channels, kThreads), kThreads, 0, partial,
                    dy.as<T>(), g, images_of(dy.shape), each);
    });
  const TapWindow w{int(sums.dim(1)), int(sums.dim(2))};
  launch_kernel(c, kName, tap_sums_kernel, ceil_div(channels * (w.rows * w.cols + 1), kThreads), kThreads, 0,
                sums.as<float>(), db.as<float>(), TapPartials{partial, parts, channels}, g, w, accumulate_b);
}

}  // namespace sluice::kernels
