// A block of an MLP-Mixer (Tolstikhin et al. 2021), in the form that auxiliary activations were measured with (Woo and
// Jeon, ICLR 2023).
#pragma once

#include "layers/auxiliary.h"
#include "layers/dense.h"
#include "layers/layer_norm.h"

namespace sluice {

struct MixerBlockConfig {
  int64_t tokens = 64;            // P
  int64_t width = 128;            // D, of a token
  int64_t token_inner = 64;       // S
  int64_t channel_inner = 512;    // C
  float dropout = 0;              // behind every linear layer
  AuxiliaryCoverage auxiliary{};  // 1: the second layer over channels, 2: the first, 3: the second over tokens, 4: the
                                  // first
};

/// x <- x + (W2 relu(W1 LN(x)^T))^T over the tokens, P -> S -> P; x <- x + W4 relu(W3 LN(x)) over the channels, D -> C
/// -> D. Norms in the standard form, eps 1e-5; linear layers start like PyTorch's.
class MixerBlock final : public Module {
 public:
  /// Throws ConfigError for a dropout outside [0, 1).
  MixerBlock(const Init& init, const MixerBlockConfig& config);
  /// x [B, P, D] -> the same shape.
  Var forward(Ctx& c, const Var& x) const override;

 private:
  LayerNorm token_norm_;
  Dense token_widen_, token_narrow_;
  LayerNorm channel_norm_;
  Dense channel_widen_, channel_narrow_;
  float dropout_;
  uint64_t paths_[4];  // of the dropouts
};

}  // namespace sluice
