// y = max(x + residual, 0) and the one bit an element that its gradient needs, in one pass; dx = dy where the bit is
// set. y may be x or the residual, dx may be dy.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

struct PackedRelu {
  static constexpr const char* kName = "packed_relu";
  ConstRef x;           // any shape; f32 or bf16
  ConstRef residual{};  // as x; undefined: 0
  Ref y{};              // as x; undefined: the bits alone are wanted
  Ref bits{};           // [packed_bytes(x.numel())] u8: x + residual > 0; undefined: not wanted

  void check() const {
    expect_float(kName, "x", x.dtype);
    if (residual.defined()) {
      expect_dtype(kName, "residual", residual.dtype, x.dtype);
      expect_shape(kName, "residual", residual.shape, x.shape);
    }
    if (y.defined()) {
      expect_dtype(kName, "y", y.dtype, x.dtype);
      expect_shape(kName, "y", y.shape, x.shape);
    }
    if (bits.defined()) expect_bits(kName, bits, x.numel());
  }
  Operands operands() const { return {{x, residual}, {y, bits}}; }
  Cost cost() const { return operands().once(x.numel() * (residual.defined() ? 2 : 1)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct PackedReluGrad {
  static constexpr const char* kName = "packed_relu_grad";
  ConstRef bits;  // as above
  ConstRef dy;    // any shape; f32 or bf16
  Ref dx;         // as dy

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_shape(kName, "dx", dx.shape, dy.shape);
    expect_bits(kName, bits, dy.numel());
  }
  Operands operands() const { return {{bits, dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
