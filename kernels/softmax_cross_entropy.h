// loss = weight * mean over rows of -log softmax(logits)[label], or their weighted sum, and its gradient, in one call.
// dlogits may be logits.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Safe for any finite logits (log-sum-exp about the row's maximum). A label outside [0, K) makes the loss and the
/// row of dlogits NaN and reads nothing outside. The mean over no rows is 0.
/// With row_weights, loss = weight * sum over rows of row_weights[r] * -log softmax(logits)[label].
struct SoftmaxCrossEntropy {
  static constexpr const char* kName = "softmax_cross_entropy";
  ConstRef logits;         // [B, K]; f32 or bf16
  ConstRef labels;         // [B] i32
  Ref loss;                // [1] f32
  Ref dlogits{};           // as logits: weight / B * (softmax - one_hot); undefined: not wanted
  ConstRef row_weights{};  // [B] f32; undefined: all 1 / B
  float weight = 1.0f;

  void check() const {
    expect_float(kName, "logits", logits.dtype);
    expect_rank(kName, "logits", logits.shape, 2);
    expect_dtype(kName, "labels", labels.dtype, DType::kI32);
    expect_shape(kName, "labels", labels.shape, {logits.dim(0)});
    expect_dtype(kName, "loss", loss.dtype, DType::kF32);
    expect_shape(kName, "loss", loss.shape, {1});
    if (row_weights.defined()) {
      expect_dtype(kName, "row_weights", row_weights.dtype, DType::kF32);
      expect_shape(kName, "row_weights", row_weights.shape, {logits.dim(0)});
    }
    if (!dlogits.defined()) return;
    expect_dtype(kName, "dlogits", dlogits.dtype, logits.dtype);
    expect_shape(kName, "dlogits", dlogits.shape, logits.shape);
  }
  Operands operands() const { return {{logits, labels, row_weights}, {loss, dlogits}}; }
  Cost cost() const { return operands().once(logits.numel() * 20); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
