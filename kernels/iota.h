// y[i] = i.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct Iota {
  static constexpr const char* kName = "iota";
  Ref y;  // [n] i32

  void check() const {
    expect_dtype(kName, "y", y.dtype, DType::kI32);
    expect_rank(kName, "y", y.shape, 1);
  }
  Operands operands() const { return {{}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
