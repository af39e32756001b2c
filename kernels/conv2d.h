// Convolution of NHWC images with KRSC filters (a cross-correlation) and its two gradients. No operands may overlap.
//   y[n,p,q,k] = b[k] + sum over r,s,c of x[n, p stride + r - padding.rows, q stride + s - padding.columns, c]
//   w[k,r,s,c]
#pragma once

#include "kernels/common/by_axis.h"
#include "kernels/matmul.h"

namespace sluice::kernels {

struct Conv2dGeometry {
  int stride = 1;
  ByAxis padding = 0;
  int groups = 1;

  /// Output rows for `in` input rows and a filter of `window` rows, and the same of columns.
  int64_t rows(int64_t in, int64_t window) const { return (in + 2 * padding.rows - window) / stride + 1; }
  int64_t columns(int64_t in, int64_t window) const { return (in + 2 * padding.columns - window) / stride + 1; }
};

namespace detail {
/// Checks what the three directions share: x [N, H, W, C], w [K, R, S, C / groups], y [N, P, Q, K].
inline void check_conv2d(const char* op, const Shape& x, const Shape& w, const Shape& y, const Conv2dGeometry& g) {
  expect_rank(op, "x", x, 4);
  expect_rank(op, "w", w, 4);
  if (g.stride < 1 || g.padding.rows < 0 || g.padding.columns < 0 || g.groups < 1)
    throw ShapeError(str(op, ": stride ", g.stride, ", padding ", text(g.padding), ", groups ", g.groups,
                         ", expected stride and groups of 1 or more, padding of 0 or more"));
  if (x[3] % g.groups != 0 || w[0] % g.groups != 0)
    throw ShapeError(
        str(op, ": ", x[3], " input and ", w[0], " output channels, expected multiples of the ", g.groups, " groups"));
  expect_shape(op, "w", w, {w[0], w[1], w[2], x[3] / g.groups});
  if (w.numel() == 0 || x[3] == 0 || x[1] + 2 * g.padding.rows < w[1] || x[2] + 2 * g.padding.columns < w[2])
    throw ShapeError(str(op, ": filter ", w.text(), " does not fit x ", x.text(), " with padding ", text(g.padding)));
  expect_shape(op, "y", y, {x[0], g.rows(x[1], w[1]), g.columns(x[2], w[2]), w[0]});
}
/// Products of the definition counted twice (multiply, add), padding included.
inline int64_t conv2d_flops(const Shape& w, const Shape& y) { return 2 * y.numel() * w[1] * w[2] * w[3]; }
}  // namespace detail

/// y = conv(x, w) + bias, products summed in f32. On a CPU without bf16 arithmetic, bf16 is a DTypeError when it runs.
struct Conv2d {
  static constexpr const char* kName = "conv2d";
  ConstRef x;     // [N, H, W, C], f32 or bf16
  ConstRef w;     // [K, R, S, C / groups], as x or f32
  ConstRef bias;  // [K], f32; or undefined
  Ref y;          // [N, P, Q, K], as x
  Conv2dGeometry geometry;
  uint64_t w_version = 0;  // equal numbers promise equal contents at w.data; 0: unknown, never cached

  void check() const {
    expect_float(kName, "x", x.dtype);
    detail::expect_weight_dtype(kName, w.dtype, x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    detail::check_conv2d(kName, x.shape, w.shape, y.shape, geometry);
    detail::expect_f32_vector(kName, "bias", bias, w.dim(0));
  }
  Operands operands() const { return {{x, w, bias}, {y}}; }
  Cost cost() const { return operands().once(detail::conv2d_flops(w.shape, y.shape)); }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx = the gradient of sum(y * dy) with respect to x.
struct Conv2dGradInput {
  static constexpr const char* kName = "conv2d_grad_input";
  ConstRef dy;  // [N, P, Q, K], f32 or bf16
  ConstRef w;   // [K, R, S, C / groups], as dy or f32
  Ref dx;       // [N, H, W, C], as dy
  Conv2dGeometry geometry;
  uint64_t w_version = 0;  // as in Conv2d

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    detail::expect_weight_dtype(kName, w.dtype, dy.dtype);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    detail::check_conv2d(kName, dx.shape, w.shape, dy.shape, geometry);
  }
  Operands operands() const { return {{dy, w}, {dx}}; }
  Cost cost() const { return operands().once(detail::conv2d_flops(w.shape, dy.shape)); }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dw (+)= the gradient with respect to w, db (+)= sums of dy over all but the last dimension. The gradient is
/// complete before it is added, so accumulating one after another rounds like adding the finished gradients. On a GPU
/// the finished dw of bf16 images has been rounded to bf16: cuDNN has no plan that leaves it in f32.
struct Conv2dGradWeight {
  static constexpr const char* kName = "conv2d_grad_weight";
  ConstRef x;   // [N, H, W, C], f32 or bf16
  ConstRef dy;  // [N, P, Q, K], as x
  Ref dw;       // [K, R, S, C / groups], f32
  Ref db;       // [K], f32; or undefined
  Conv2dGeometry geometry;
  bool accumulate_w = false;  // add to what is there
  bool accumulate_b = false;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "dy", dy.dtype, x.dtype);
    expect_dtype(kName, "dw", dw.dtype, DType::kF32);
    detail::check_conv2d(kName, x.shape, dw.shape, dy.shape, geometry);
    detail::expect_f32_vector(kName, "db", db, dw.dim(0));
  }
  Operands operands() const { return {{x, dy}, {dw, db}}; }
  Cost cost() const {
    Cost c = operands().once(detail::conv2d_flops(dw.shape, dy.shape) + (db.defined() ? dy.numel() : 0));
    c.read += (accumulate_w ? dw.bytes() : 0) + (accumulate_b ? db.bytes() : 0);
    return c;
  }
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
