// y[b, k] = 1 where k is the label of row b, else 0; without labels, the identity. Reads nothing of y.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// A label outside [0, classes) makes its row NaN, so that every loss behind it is NaN.
struct OneHot {
  static constexpr const char* kName = "one_hot";
  ConstRef labels{};  // [B] i32; left out: row b has label b
  Ref y;              // [B, classes]; f32 or bf16

  void check() const {
    expect_float(kName, "y", y.dtype);
    expect_rank(kName, "y", y.shape, 2);
    if (identity()) return expect_shape(kName, "y", y.shape, {y.dim(0), y.dim(0)});
    expect_dtype(kName, "labels", labels.dtype, DType::kI32);
    expect_rank(kName, "labels", labels.shape, 1);
    expect_shape(kName, "y", y.shape, {labels.dim(0), y.dim(1)});
  }
  bool identity() const { return !labels.defined() && labels.shape.rank() == 0; }
  Operands operands() const { return {{labels}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
