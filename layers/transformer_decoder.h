// A layer of a transformer's decoder, norms first (Vaswani et al. 2017; Xiong et al. 2020), without positions.
#pragma once

#include <optional>

#include "layers/transformer_sublayers.h"

namespace sluice {

/// x <- x + drop(O MHA(LN(x))) over earlier positions; the same over the encoder's output, which is not normed again;
/// x <- x + drop(W2 drop(relu(W1 LN(x)))); then LN where wanted.
class TransformerDecoder final {
 public:
  /// Throws as TransformerEncoder.
  TransformerDecoder(const Init& init, const TransformerLayerConfig& config);
  /// x [B, T, d], padded on the right; memory [B, S, d], memory_mask [B, S] u8 or undefined -> [B, T, d].
  Var forward(Ctx& c, const Var& x, const Var& memory, const Tensor& memory_mask) const;

 private:
  AttentionSublayer self_, cross_;
  FeedForward inner_;
  std::optional<LayerNorm> final_norm_;
};

}  // namespace sluice
