// Batch norm over the last dimension's channels (Ioffe and Szegedy 2015), optionally with ReLU behind it.
#pragma once

#include "layers/module.h"

namespace sluice {

/// Training normalises by the micro-batch's own mean and biased variance; the running statistics (momentum 0.1,
/// unbiased variance) are updated once per micro-batch and used in evaluation. eps 1e-5.
class BatchNorm final : public Module {
 public:
  BatchNorm(Init init, int64_t channels, bool relu = false);
  Var forward(Ctx& c, const Var& x) const override { return batch_norm(c, x, params_, relu_); }
  /// act(bn(x) + residual).
  Var forward(Ctx& c, const Var& x, const Var& residual) const { return batch_norm(c, x, residual, params_, relu_); }

 private:
  BatchNormParams params_;
  bool relu_;
};

}  // namespace sluice
