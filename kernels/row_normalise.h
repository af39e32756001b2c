// y = x / max(|x|_2, eps) row by row, and its gradient. y may be x; dx may be dy.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct RowNormalise {
  static constexpr const char* kName = "row_normalise";
  ConstRef x;  // [rows, D]; f32 or bf16
  Ref y;       // as x
  Ref norms;   // [rows] f32: |x|_2, for the gradient
  float eps = 1e-12f;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_rank(kName, "x", x.shape, 2);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
    expect_dtype(kName, "norms", norms.dtype, DType::kF32);
    expect_shape(kName, "norms", norms.shape, {x.dim(0)});
    if (!(eps > 0.0f)) throw ConfigError(str(kName, ": eps is ", eps, ", expected a positive number"));
  }
  Operands operands() const { return {{x}, {y, norms}}; }
  Cost cost() const { return operands().once(x.numel() * 3); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx = (dy - y (y . dy)) / |x|, and dy / eps where the norm was below eps: there it counts as a constant.
struct RowNormaliseGrad {
  static constexpr const char* kName = "row_normalise_grad";
  ConstRef y;      // [rows, D]; f32 or bf16
  ConstRef norms;  // [rows] f32, of forward
  ConstRef dy;     // as y
  Ref dx;          // as y
  float eps = 1e-12f;

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_rank(kName, "dy", dy.shape, 2);
    expect_dtype(kName, "y", y.dtype, dy.dtype);
    expect_shape(kName, "y", y.shape, dy.shape);
    expect_dtype(kName, "norms", norms.dtype, DType::kF32);
    expect_shape(kName, "norms", norms.shape, {dy.dim(0)});
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_shape(kName, "dx", dx.shape, dy.shape);
    if (!(eps > 0.0f)) throw ConfigError(str(kName, ": eps is ", eps, ", expected a positive number"));
  }
  Operands operands() const { return {{y, norms, dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel() * 5); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
