// y[b] = x[b]^T, plus a residual where there is one: tokens of channels to channels of tokens. y may be the residual,
// not x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct TransposeTokens {
  static constexpr const char* kName = "transpose_tokens";
  ConstRef x;           // [B, R, C]; f32 or bf16
  ConstRef residual{};  // [B, C, R], as x; or undefined
  Ref y;                // [B, C, R]; as x

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_rank(kName, "x", x.shape, 3);
    const Shape turned{x.dim(0), x.dim(2), x.dim(1)};
    if (residual.defined()) {
      expect_dtype(kName, "residual", residual.dtype, x.dtype);
      expect_shape(kName, "residual", residual.shape, turned);
    }
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, turned);
  }
  Operands operands() const { return {{x, residual}, {y}}; }
  Cost cost() const { return operands().once(residual.defined() ? y.numel() : 0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
