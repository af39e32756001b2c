// y = a + b, element by element. y may be a or b.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct Add {
  static constexpr const char* kName = "add";
  ConstRef a;  // any shape; f32 or bf16
  ConstRef b;  // as a
  Ref y;       // as a

  void check() const {
    expect_float(kName, "a", a.dtype);
    expect_dtype(kName, "b", b.dtype, a.dtype);
    expect_dtype(kName, "y", y.dtype, a.dtype);
    expect_shape(kName, "b", b.shape, a.shape);
    expect_shape(kName, "y", y.shape, a.shape);
  }
  Operands operands() const { return {{a, b}, {y}}; }
  Cost cost() const { return operands().once(a.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
