// The encoder-decoder transformer for translation (Vaswani et al. 2017), norms first, in the sizes and with the starts
// that auxiliary activations were measured with (Woo and Jeon, ICLR 2023).
#pragma once

#include "layers/auxiliary.h"
#include "models/stages.h"

namespace sluice {

struct TranslationConfig {
  int64_t source_vocabulary = 8000, target_vocabulary = 8000;  // ids below; 0 is padding
  int64_t width = 512;                                         // d
  int64_t inner = 2048;                                        // of the feed-forward layers
  int heads = 8;
  int layers = 6;        // of the encoder, and as many of the decoder
  int stage_layers = 1;  // of a stage; the last of either may have fewer
  float dropout = 0.1f;
  DType dtype = DType::kF32;      // of activations; weights and losses are f32
  bool recompute = false;         // gradient checkpointing of attention
  AuxiliaryCoverage auxiliary{};  // of the layers, as in TransformerLayerConfig
};

/// Stages: the source's embedding; the encoder's layers; the target's embedding and the decoder's layers; Linear.
/// The first reads "source" [B, S] i32 and "target" [B, T] i32, begun by a mark and padded with 0 on the right like the
/// source; the last "labels" [B, T] i32, the target's next tokens, and "weights" [B, T] f32 of them. Embeddings are
/// multiplied by sqrt(d) and get sinusoids; every matrix starts Xavier-uniform; both halves end in a layer norm.
/// 44,140,544 parameters and 1537 for each word of a vocabulary by default. Throws ConfigError or ShapeError for sizes
/// that do not fit.
std::vector<StageNet> translation_backprop(const TranslationConfig& config);

}  // namespace sluice
