// loss = weight * mean((x - target)^2) and dx = weight * 2 / n * (x - target), in one pass; or the rows weighted one by
// one. dx may be x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// The mean over no elements is 0. With row_weights, loss = weight * sum over rows of row_weights[r] * (mean of the
/// row's squares).
struct Mse {
  static constexpr const char* kName = "mse";
  ConstRef x;              // any shape; f32 or bf16
  ConstRef target;         // as x
  Ref loss;                // [1] f32
  Ref dx{};                // as x; undefined: not wanted
  ConstRef row_weights{};  // [rows of x] f32; undefined: all 1 / rows
  float weight = 1.0f;

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "target", target.dtype, x.dtype);
    expect_shape(kName, "target", target.shape, x.shape);
    expect_dtype(kName, "loss", loss.dtype, DType::kF32);
    expect_shape(kName, "loss", loss.shape, {1});
    if (row_weights.defined()) {
      expect_dtype(kName, "row_weights", row_weights.dtype, DType::kF32);
      expect_shape(kName, "row_weights", row_weights.shape, {x.shape.rows()});
    }
    if (!dx.defined()) return;
    expect_dtype(kName, "dx", dx.dtype, x.dtype);
    expect_shape(kName, "dx", dx.shape, x.shape);
  }
  Operands operands() const { return {{x, target, row_weights}, {loss, dx}}; }
  Cost cost() const { return operands().once(x.numel() * 4); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
