// y = `one` where the bit is set, else `zero`: packed signs as the operand of a product.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

struct ExpandSigns {
  static constexpr const char* kName = "expand_signs";
  ConstRef bits;  // [packed_bytes(y.numel())] u8
  Ref y;          // any shape; f32 or bf16
  float one = 1.0f, zero = -1.0f;

  void check() const {
    expect_float(kName, "y", y.dtype);
    expect_bits(kName, bits, y.numel());
  }
  Operands operands() const { return {{bits}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
