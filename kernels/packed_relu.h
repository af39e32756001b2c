// y = max(x, 0) and the one bit an element that its gradient needs, in one pass; dx = dy where the bit is set. y may be
// x, dx may be dy.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

struct PackedRelu {
  static constexpr const char* kName = "packed_relu";
  ConstRef x;  // any shape; f32 or bf16
  Ref y;       // as x
  Ref bits;    // [packed_bytes(x.numel())] u8: x > 0

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
    expect_bits(kName, bits, x.numel());
  }
  Operands operands() const { return {{x}, {y, bits}}; }
  Cost cost() const { return operands().once(x.numel()); }
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
