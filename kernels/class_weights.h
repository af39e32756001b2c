// The share of each class among a batch's labels: what a loss over the classes weighs its rows with, so that it equals
// the loss over the batch.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// weights[k] = n_k / B: one division, exact counts; no labels give zeroes. A label outside [0, K) makes all weights
/// NaN, so that every loss behind them is NaN.
struct ClassWeights {
  static constexpr const char* kName = "class_weights";
  ConstRef labels;  // [B] i32
  Ref weights;      // [K] f32

  void check() const {
    expect_dtype(kName, "labels", labels.dtype, DType::kI32);
    expect_rank(kName, "labels", labels.shape, 1);
    expect_dtype(kName, "weights", weights.dtype, DType::kF32);
    expect_rank(kName, "weights", weights.shape, 1);
  }
  Operands operands() const { return {{labels}, {weights}}; }
  Cost cost() const { return operands().once(labels.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
