// Convolution with an auxiliary bias activation (Woo and Jeon, ICLR 2023): a learned number is added to each input
// channel, which forward is another bias and backward needs sums of dy alone. A tap is a place (r, s) of the filter;
// next to the padding a pixel's filter has taps outside the image, which see zeroes. Where taps are inside depends on
// the row and on the column alone, by classes of neighbouring rows and columns.
#pragma once

#include <algorithm>

#include "kernels/conv2d.h"

namespace sluice::kernels {

/// Neighbouring rows (or columns) of the output whose filters have the same rows [first, last) inside the image.
struct TapClass {
  int64_t begin, end;
  int first, last;
};
struct TapClasses {
  static constexpr int kMost = 16;
  TapClass v[kMost];
  int count;
};

/// `out` output rows (or columns) over `in` input rows with a filter of `window` rows.
struct TapAxis {
  int64_t in, out;
  int window, stride, padding;
};

/// Throws ShapeError for more than 16.
inline TapClasses tap_classes(const char* op, const TapAxis& axis) {
  TapClasses c{};
  for (int64_t p = 0; p < axis.out; ++p) {
    const int64_t top = p * axis.stride - axis.padding;
    const int last = int(std::clamp<int64_t>(axis.in - top, 0, axis.window));
    const int first = std::min(last, int(std::clamp<int64_t>(-top, 0, axis.window)));
    if (c.count > 0 && c.v[c.count - 1].first == first && c.v[c.count - 1].last == last) {
      c.v[c.count - 1].end = p + 1;
      continue;
    }
    if (c.count == TapClasses::kMost)
      throw ShapeError(str(op, ": a filter of ", axis.window, " rows, expected one with at most 16 kinds of border"));
    c.v[c.count++] = {p, p + 1, first, last};
  }
  return c;
}

struct ImageSize {
  int64_t height = 0, width = 0;
};

/// The classes of both directions.
struct TapGrid {
  TapClasses rows, cols;
};
inline TapGrid tap_grid(const char* op, const Shape& y, const Shape& taps, const ImageSize& in,
                        const Conv2dGeometry& g) {
  return {tap_classes(op, {in.height, y[1], int(taps[1]), g.stride, g.padding.rows}),
          tap_classes(op, {in.width, y[2], int(taps[2]), g.stride, g.padding.columns})};
}

namespace detail {
inline void expect_taps(const char* op, const ConstRef& y, const ConstRef& taps, const ImageSize& in,
                        const Conv2dGeometry& g) {
  expect_float(op, "y", y.dtype);
  expect_rank(op, "y", y.shape, 4);
  expect_dtype(op, "taps", taps.dtype, DType::kF32);
  expect_rank(op, "taps", taps.shape, 3);
  const Shape& t = taps.shape;
  if (g.stride < 1 || g.padding.rows < 0 || g.padding.columns < 0 || g.groups != 1 ||
      in.height + 2 * g.padding.rows < t[1] || in.width + 2 * g.padding.columns < t[2])
    throw ShapeError(str(op, ": taps ", t.text(), " do not fit an image of ", in.height, " x ", in.width));
  expect_shape(op, "y", y.shape, {y.dim(0), g.rows(in.height, t[1]), g.columns(in.width, t[2]), t[0]});
  tap_grid(op, y.shape, t, in, g);
}
}  // namespace detail

/// y = bias + the sum of a filter's taps: what a pixel gets whose taps are all inside.
struct TapTotals {
  static constexpr const char* kName = "tap_totals";
  ConstRef taps;    // [K, R, S] f32
  ConstRef bias{};  // [K] f32; undefined: 0
  Ref y;            // [K] f32

  void check() const {
    expect_dtype(kName, "taps", taps.dtype, DType::kF32);
    expect_rank(kName, "taps", taps.shape, 3);
    detail::expect_f32_vector(kName, "bias", bias, taps.dim(0));
    expect_dtype(kName, "y", y.dtype, DType::kF32);
    expect_shape(kName, "y", y.shape, {taps.dim(0)});
  }
  Operands operands() const { return {{taps, bias}, {y}}; }
  Cost cost() const { return operands().once(taps.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// y -= the taps outside the image, at the pixels that have some. Nothing else is read or written.
struct TapBorder {
  static constexpr const char* kName = "tap_border";
  ConstRef taps;    // [K, R, S] f32
  Ref y;            // [N, P, Q, K], f32 or bf16
  ImageSize image;  // of the input
  Conv2dGeometry geometry;

  void check() const { detail::expect_taps(kName, y, taps, image, geometry); }
  Operands operands() const { return {{taps}, {y}}; }
  int64_t border_pixels() const;
  Cost cost() const {
    const int64_t bytes = border_pixels() * y.dim(3) * size_of(y.dtype);
    return {.read = bytes + (bytes > 0 ? taps.bytes() : 0),
            .written = bytes,
            .flops = border_pixels() * y.dim(3) * taps.dim(1) * taps.dim(2)};
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// sums[k, r, s] = the sum of dy over the pixels whose tap (r, s) is inside; db (+)= the sum over all pixels.
struct TapSums {
  static constexpr const char* kName = "tap_sums";
  ConstRef dy;      // [N, P, Q, K], f32 or bf16
  Ref sums;         // [K, R, S] f32
  Ref db{};         // [K] f32; undefined: not wanted
  ImageSize image;  // of the input
  Conv2dGeometry geometry;
  bool accumulate_b = false;

  void check() const {
    detail::expect_taps(kName, dy, sums, image, geometry);
    detail::expect_f32_vector(kName, "db", db, sums.dim(0));
  }
  Operands operands() const { return {{dy}, {sums, db}}; }
  Cost cost() const {
    Cost c = operands().once(dy.numel());
    c.read += accumulate_b ? db.bytes() : 0;
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

SLUICE_HD bool is_whole(const TapClass& c, int window) { return c.first == 0 && c.last == window; }

inline int64_t TapBorder::border_pixels() const {
  const TapGrid g = tap_grid(kName, y.shape, taps.shape, image, geometry);
  const auto whole = [](const TapClasses& c, int window) {
    int64_t n = 0;
    for (int i = 0; i < c.count; ++i) n += is_whole(c.v[i], window) ? c.v[i].end - c.v[i].begin : 0;
    return n;
  };
  return y.dim(0) * (y.dim(1) * y.dim(2) - whole(g.rows, int(taps.dim(1))) * whole(g.cols, int(taps.dim(2))));
}

}  // namespace sluice::kernels
