// A block of a transformer's encoder, norms first (Vaswani et al. 2017; Xiong et al. 2020), without positions.
#pragma once

#include <optional>

#include "layers/auxiliary.h"
#include "layers/layer_norm.h"

namespace sluice {

struct EncoderConfig {
  int64_t width = 300;            // d, of the activations
  int heads = 6;                  // d / heads at most 128
  int64_t inner = 256;            // d_ff
  float dropout = 0.3f;           // after both halves, after ReLU, on the attention's probabilities
  bool final_norm = true;         // a last layer norm behind the residuals
  bool recompute = false;         // gradient checkpointing of attention
  AuxiliaryCoverage auxiliary{};  // 1: the second linear layer of the feed-forward half, 2: its first, 3: the output
                                  // projection of attention, 4: those to Q, K and V
};

/// x <- x + drop(O MHA(LN(x))); x <- x + drop(W2 drop(relu(W1 LN(x)))); then LN where wanted. The norms divide by the
/// unbiased deviation + 1e-6. Matrices start Xavier-uniform, Q, K and V each for itself though they are one parameter
/// [3 d, d] (and have a learned vector each, "qkv.auxiliary_bias" [3, d]); the biases of Q, K, V and O start as clones
/// of one draw of U(+-1/sqrt(d)).
class TransformerEncoder final : public Module {
 public:
  /// Throws ShapeError when the width does not split into the heads, ConfigError for a dropout outside [0, 1).
  TransformerEncoder(const Init& init, const EncoderConfig& config);
  /// x [B, T, d]; mask [B, T] u8, not 0: may be attended to, or undefined. Masked positions have outputs, too.
  Var forward(Ctx& c, const Var& x, const Tensor& mask) const;
  Var forward(Ctx& c, const Var& x) const override { return forward(c, x, Tensor()); }

 private:
  LayerNorm attention_norm_, inner_norm_;
  std::optional<LayerNorm> final_norm_;
  Linear qkv_, out_, widen_, narrow_;
  AttentionSpec attention_;
  float dropout_;
  uint64_t attention_path_, inner_path_, out_path_;  // of the dropouts
};

}  // namespace sluice
