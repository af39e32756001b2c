// y[c, r] = x[r, c] for integers: batches of ids and masks change between batch-major and time-major. y may not be x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct TransposeIds {
  static constexpr const char* kName = "transpose_ids";
  ConstRef x;  // [R, C]; i32 or u8
  Ref y;       // [C, R]; as x

  void check() const {
    if (x.dtype != DType::kI32 && x.dtype != DType::kU8)
      throw DTypeError(str(kName, ": x is ", name(x.dtype), ", expected i32 or u8"));
    expect_rank(kName, "x", x.shape, 2);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, {x.dim(1), x.dim(0)});
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
