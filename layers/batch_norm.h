// Batch norm over the last dimension's channels (Ioffe and Szegedy 2015) and an activation behind it.
#pragma once

#include "layers/module.h"

namespace sluice {

/// Training normalises by the micro-batch's own mean and biased variance; the running statistics (momentum 0.1,
/// unbiased variance) are updated once per micro-batch and used in evaluation. ReLU is part of the same pass, other
/// activations are one of their own. `variance` is what the running one starts with.
class BatchNorm final : public Module {
 public:
  BatchNorm(Init init, int64_t channels, Act act = Act::kNone, float variance = 1, float eps = 1e-5f);
  Var forward(Ctx& c, const Var& x) const override {
    return activated(c, batch_norm(c, x, params_, act_ == Act::kRelu));
  }
  /// act(bn(x) + residual).
  Var forward(Ctx& c, const Var& x, const Var& residual) const {
    return activated(c, batch_norm(c, x, residual, params_, act_ == Act::kRelu));
  }

 private:
  Var activated(Ctx& c, const Var& y) const {
    return act_ == Act::kNone || act_ == Act::kRelu ? y : activation(c, y, act_);
  }

  BatchNormParams params_;
  Act act_;
};

}  // namespace sluice
