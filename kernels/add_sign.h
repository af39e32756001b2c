// y = x + epsilon sign(x) and one bit an element, x > 0, in one pass: what a linear layer is given whose weight
// gradient comes from signs (auxiliary sign activation; Woo and Jeon, ICLR 2023). y may be x.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

struct AddSign {
  static constexpr const char* kName = "add_sign";
  ConstRef x;  // any shape; f32 or bf16
  Ref y;       // as x
  Ref bits{};  // [packed_bytes(x.numel())] u8: x > 0; undefined: not wanted
  float epsilon = 0.01f;
  float of_zero = -1.0f;  // the sign of 0

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
    if (bits.defined()) expect_bits(kName, bits, x.numel());
  }
  Operands operands() const { return {{x}, {y, bits}}; }
  Cost cost() const { return operands().once(2 * x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
