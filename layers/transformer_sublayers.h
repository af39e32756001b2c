// What transformer layers are made of, norms first (Vaswani et al. 2017; Xiong et al. 2020): attention and feed-forward
// halves, each with its residual.
#pragma once

#include "layers/auxiliary.h"
#include "layers/layer_norm.h"

namespace sluice {

struct TransformerLayerConfig {
  int64_t width = 300;            // d, of the activations
  int heads = 6;                  // d / heads at most 128
  int64_t inner = 256;            // d_ff
  float dropout = 0.3f;           // after both halves, after ReLU, on the attention's probabilities
  bool final_norm = true;         // of an encoder: a last layer norm behind the residuals
  bool recompute = false;         // gradient checkpointing of attention
  AuxiliaryCoverage auxiliary{};  // 1: the second linear layer of the feed-forward half, 2: its first, 3: the output
                                  // projection of attention, 4: those to Q, K and V. faithful: their gradients from
                                  // signs are multiplied by 100 alone, whatever scale and epsilon
  bool standard = false;  // norms as PyTorch's, biases that start apart; else as the associated-learning papers'
                          // code: norms divide by the unbiased deviation + 1e-6, and the biases of Q, K, V and
                          // the output start as clones of one draw of U(+-1/sqrt(d))
};

/// The norms of a layer. "final_norm" is that of an encoder or decoder.
LayerNorm transformer_norm(const Init& init, const char* name, const TransformerLayerConfig& config);

/// What positions attend to.
enum class AttentionTo {
  kAll,      // every position of their own sequence that the mask keeps
  kEarlier,  // themselves and what is before them
  kMemory    // every position of another sequence that the mask keeps
};

/// x + drop(O MHA(LN(x))). Matrices start Xavier-uniform, Q, K and V each for itself though those of one input are one
/// parameter, "qkv" [3 d, d] or "kv" [2 d, d] beside "query" [d, d] (and have a learned vector each,
/// "qkv.auxiliary_bias" [3, d]).
class AttentionSublayer final {
 public:
  /// Throws ShapeError when the width does not split into the heads, ConfigError for a dropout outside [0, 1).
  AttentionSublayer(const Init& init, const TransformerLayerConfig& config, AttentionTo to);
  /// x [B, T, d]; mask [B, T] u8, not 0: may be attended to; undefined: all may, and of kEarlier always.
  Var forward(Ctx& c, const Var& x, const Tensor& mask) const;
  /// Of kMemory: memory [B, S, d], mask [B, S].
  Var forward(Ctx& c, const Var& x, const Var& memory, const Tensor& mask) const;

 private:
  Var add(Ctx& c, const Var& heads, const Var& x) const;

  LayerNorm norm_;
  Linear in_, memory_in_, out_;  // to Q, K and V, or to Q alone and to K and V of the memory
  AttentionSpec attention_;
  float dropout_;
  uint64_t out_path_;  // of the dropout
};

/// x + drop(W2 drop(relu(W1 LN(x)))).
class FeedForward final : public Module {
 public:
  FeedForward(const Init& init, const TransformerLayerConfig& config);
  Var forward(Ctx& c, const Var& x) const override;

 private:
  LayerNorm norm_;
  Linear widen_, narrow_;
  float dropout_;
  uint64_t inner_path_, out_path_;  // of the dropouts
};

}  // namespace sluice
