// Layer norm over the last dimension.
#pragma once

#include "layers/module.h"

namespace sluice {

/// x [..., cols] -> the same shape. gamma starts at 1, beta at 0.
class LayerNorm final : public Module {
 public:
  LayerNorm(Init init, int64_t cols, LayerNormForm form = LayerNormForm::kStandard, float eps = 1e-5f);
  Var forward(Ctx& c, const Var& x) const override { return layer_norm(c, x, params_); }

 private:
  LayerNormParams params_;
};

}  // namespace sluice
