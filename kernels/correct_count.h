// count = number of rows whose largest logit, the first of equals, is at the label.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Exact up to 2^24 rows. NaN is never the largest; a label outside [0, K) is never right.
struct CorrectCount {
  static constexpr const char* kName = "correct_count";
  ConstRef logits;  // [B, K]; f32 or bf16
  ConstRef labels;  // [B] i32
  Ref count;        // [1] f32

  void check() const {
    expect_float(kName, "logits", logits.dtype);
    expect_rank(kName, "logits", logits.shape, 2);
    expect_dtype(kName, "labels", labels.dtype, DType::kI32);
    expect_shape(kName, "labels", labels.shape, {logits.dim(0)});
    expect_dtype(kName, "count", count.dtype, DType::kF32);
    expect_shape(kName, "count", count.shape, {1});
  }
  Operands operands() const { return {{logits, labels}, {count}}; }
  Cost cost() const { return operands().once(logits.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
