// loss = weight * mean over rows of -sum_k q_k log softmax(logits)_k, or their weighted sum, and its gradient, in one
// call; q is the label, two labels by their shares, either of them smoothed. dlogits may be logits.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Safe for any finite logits (log-sum-exp about the row's maximum). A label outside [0, K) makes the loss and the
/// row of dlogits NaN and reads nothing outside. The mean over no rows is 0.
/// A label's q is 1 - smoothing for the label and the same part of smoothing for every other class but `unsmoothed`;
/// with labels2, q = share q(labels) + (1 - share) q(labels2).
/// With row_weights, loss = weight * sum over rows of row_weights[r] * the row's loss.
struct SoftmaxCrossEntropy {
  static constexpr const char* kName = "softmax_cross_entropy";
  ConstRef logits;         // [B, K]; f32 or bf16
  ConstRef labels;         // [B] i32
  Ref loss;                // [1] f32
  Ref dlogits{};           // as logits: weight / B * (softmax - q); undefined: not wanted
  ConstRef row_weights{};  // [B] f32; undefined: all 1 / B
  ConstRef labels2{};      // [B] i32; undefined: one label a row
  ConstRef share{};        // [B] f32, of `labels`; as defined as labels2
  float smoothing = 0.0f;  // in [0, 1]; more than 0 needs another class to give it to
  int unsmoothed = -1;     // a class that gets none, and is no label where there is smoothing; -1: none
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
    check_targets();
    if (!dlogits.defined()) return;
    expect_dtype(kName, "dlogits", dlogits.dtype, logits.dtype);
    expect_shape(kName, "dlogits", dlogits.shape, logits.shape);
  }
  void check_targets() const {
    if (unsmoothed < -1 || unsmoothed >= logits.dim(1))
      throw ShapeError(str(kName, ": unsmoothed class ", unsmoothed, " of ", logits.dim(1), ", expected one, or -1"));
    if (!(smoothing >= 0.0f && smoothing <= 1.0f) || (smoothing > 0.0f && smoothed() < 1))
      throw ShapeError(str(kName, ": smoothing ", smoothing, " of ", logits.dim(1),
                           " classes, expected a share in [0, 1] and, above 0, another class to give it to"));
    if (labels2.defined() != share.defined())
      throw ShapeError(str(kName, ": one of labels2 and share, expected both or none"));
    if (!labels2.defined()) return;
    expect_dtype(kName, "labels2", labels2.dtype, DType::kI32);
    expect_shape(kName, "labels2", labels2.shape, {logits.dim(0)});
    expect_dtype(kName, "share", share.dtype, DType::kF32);
    expect_shape(kName, "share", share.shape, {logits.dim(0)});
  }
  /// How many classes a label's smoothing goes to.
  int64_t smoothed() const { return logits.dim(1) - 1 - (unsmoothed >= 0 ? 1 : 0); }
  /// q of a class that is no label, and what a label has more.
  float others() const { return smoothing > 0.0f ? smoothing / float(smoothed()) : 0.0f; }
  float extra() const { return 1.0f - smoothing - others(); }
  Operands operands() const { return {{logits, labels, row_weights, labels2, share}, {loss, dlogits}}; }
  Cost cost() const { return operands().once(logits.numel() * 20); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
