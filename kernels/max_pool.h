// Max pooling over NHWC and its gradient. The forward pass notes which element of each window won; outputs must not
// overlap inputs.
#pragma once

#include "kernels/common/context.h"
#include "kernels/pool2d.h"

namespace sluice::kernels {

/// The first of equals wins; NaN wins over numbers. Padding never wins.
struct MaxPool {
  static constexpr const char* kName = "max_pool";
  ConstRef x;   // [N, H, W, C]; f32 or bf16
  Ref y;        // [N, P, Q, C], as x
  Ref index{};  // [N, P, Q, C] u8: row * window_w + column of the winner in its window; undefined: not wanted
  Pool2d pool;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, pool.output(kName, x.shape));
    if (!index.defined()) return;
    if (pool.window_h * pool.window_w > 256)
      throw ShapeError(
          str(kName, ": a window of ", pool.window_h, "x", pool.window_w, ", expected at most 256 elements"));
    expect_dtype(kName, "index", index.dtype, DType::kU8);
    expect_shape(kName, "index", index.shape, y.shape);
  }
  Operands operands() const { return {{x}, {y, index}}; }
  Cost cost() const { return operands().once(y.numel() * pool.window_h * pool.window_w); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// Each dy goes to the winner of its window; windows that share a winner add, in window order, in float.
struct MaxPoolGrad {
  static constexpr const char* kName = "max_pool_grad";
  ConstRef index;  // [N, P, Q, C] u8
  ConstRef dy;     // [N, P, Q, C]; f32 or bf16
  Ref dx;          // [N, H, W, C], as dy; every element is written
  Pool2d pool;

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_dtype(kName, "index", index.dtype, DType::kU8);
    expect_shape(kName, "dy", dy.shape, pool.output(kName, dx.shape));
    expect_shape(kName, "index", index.shape, dy.shape);
  }
  Operands operands() const { return {{index, dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
