// A layer of a transformer's encoder, norms first (Vaswani et al. 2017; Xiong et al. 2020), without positions.
#pragma once

#include <optional>

#include "layers/transformer_sublayers.h"

namespace sluice {

/// x <- x + drop(O MHA(LN(x))); x <- x + drop(W2 drop(relu(W1 LN(x)))); then LN where wanted.
class TransformerEncoder final : public Module {
 public:
  /// Throws ShapeError when the width does not split into the heads, ConfigError for a dropout outside [0, 1).
  TransformerEncoder(const Init& init, const TransformerLayerConfig& config);
  /// x [B, T, d]; mask [B, T] u8, not 0: may be attended to, or undefined. Masked positions have outputs, too.
  Var forward(Ctx& c, const Var& x, const Tensor& mask) const;
  Var forward(Ctx& c, const Var& x) const override { return forward(c, x, Tensor()); }

 private:
  AttentionSublayer attention_;
  FeedForward inner_;
  std::optional<LayerNorm> final_norm_;
};

}  // namespace sluice
