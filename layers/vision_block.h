// A block of a vision transformer, norms first (Dosovitskiy et al. 2021), in the form that auxiliary activations were
// measured with (Woo and Jeon, ICLR 2023).
#pragma once

#include "layers/auxiliary.h"
#include "layers/dense.h"
#include "layers/layer_norm.h"

namespace sluice {

struct VisionBlockConfig {
  int64_t width = 384;            // d
  int heads = 12;                 // d / heads at most 128
  int64_t inner = 1536;           // of the two linear layers behind attention
  float dropout = 0;              // after attention's output projection and after both ReLUs
  bool recompute = false;         // gradient checkpointing of attention
  AuxiliaryCoverage auxiliary{};  // 1: the second of those linear layers, 2: the first, 3: attention's output
                                  // projection, 4: those to Q, K and V. faithful: as the authors' first code, level 1
                                  // alone takes the signs of the second layer's input as if no ReLU were before it
};

/// x <- x + drop(O MHA(LN(x))); x <- x + drop(relu(W2 drop(relu(W1 LN(x))))): a ReLU behind the second layer, too.
/// Scores are divided by sqrt(d), d the whole width. Norms in the standard form, eps 1e-5; linear layers start like
/// PyTorch's; Q, K and V are one parameter [3 d, d].
class VisionBlock final : public Module {
 public:
  /// Throws ShapeError when the width does not split into the heads, ConfigError for a dropout outside [0, 1).
  VisionBlock(const Init& init, const VisionBlockConfig& config);
  /// x [B, T, d] -> the same shape.
  Var forward(Ctx& c, const Var& x) const override;

 private:
  LayerNorm attention_norm_, inner_norm_;
  Linear qkv_;
  Dense out_, widen_, narrow_;
  AttentionSpec attention_;
  float dropout_;
  uint64_t attention_path_, inner_path_, out_path_;  // of the dropouts
};

}  // namespace sluice
