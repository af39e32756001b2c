// y = factor x with the factor on the device. y may be x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct Scale {
  static constexpr const char* kName = "scale";
  ConstRef x;       // any shape; f32 or bf16
  ConstRef factor;  // [1] f32
  Ref y;            // as x

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "factor", factor.dtype, DType::kF32);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "factor", factor.shape, {1});
    expect_shape(kName, "y", y.shape, x.shape);
  }
  Operands operands() const { return {{x, factor}, {y}}; }
  Cost cost() const { return operands().once(x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
