// Average pooling over NHWC and its gradient, padding counted as zeroes. Outputs must not overlap inputs.
#pragma once

#include "kernels/common/context.h"
#include "kernels/pool2d.h"

namespace sluice::kernels {

/// Sums in window order, in float, then divides by the full window.
struct AvgPool {
  static constexpr const char* kName = "avg_pool";
  ConstRef x;  // [N, H, W, C]; f32 or bf16
  Ref y;       // [N, P, Q, C], as x
  Pool2d pool;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, pool.output(kName, x.shape));
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(y.numel() * pool.window_h * pool.window_w); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct AvgPoolGrad {
  static constexpr const char* kName = "avg_pool_grad";
  ConstRef dy;  // [N, P, Q, C]; f32 or bf16
  Ref dx;       // [N, H, W, C], as dy; every element is written
  Pool2d pool;

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_shape(kName, "dy", dy.shape, pool.output(kName, dx.shape));
  }
  Operands operands() const { return {{dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel() * pool.window_h * pool.window_w); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
