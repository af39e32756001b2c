// mask = 1 where a token is no padding (id 0), else 0.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct TokenMask {
  static constexpr const char* kName = "token_mask";
  ConstRef ids;  // any shape; i32
  Ref mask;      // as ids; u8

  void check() const {
    expect_dtype(kName, "ids", ids.dtype, DType::kI32);
    expect_dtype(kName, "mask", mask.dtype, DType::kU8);
    expect_shape(kName, "mask", mask.shape, ids.shape);
  }
  Operands operands() const { return {{ids}, {mask}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
