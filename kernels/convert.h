// y = x in the other floating dtype; f32 is rounded to the nearest bf16, ties to even. y may not be x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct Convert {
  static constexpr const char* kName = "convert";
  ConstRef x;  // any shape; f32 or bf16
  Ref y;       // as x, of the other dtype

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype == DType::kF32 ? DType::kBF16 : DType::kF32);
    expect_shape(kName, "y", y.shape, x.shape);
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
