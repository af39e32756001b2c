// Text classifiers of the associated-learning papers: an embedding and a chain of bidirectional LSTMs or transformer
// encoders. 5 stages end to end, 4 associated ones with the default three encoders.
#pragma once

#include "layers/auxiliary.h"
#include "models/contrastive.h"

namespace sluice {

struct TextConfig {
  int64_t vocabulary = 30'000;  // ids [0, vocabulary); 0 is padding
  int64_t classes = 4;
  int64_t embedding = 300;  // width of the embedding, and of the transformer throughout
  int64_t hidden = 256;     // LSTM units per direction; width of the transformer's feed-forward layer
  int64_t code = 128;       // width of the label codes
  int encoders = 3;         // encoder stages behind the embedding
  int layers = 1;           // transformer layers a stage
  int heads = 6;
  float dropout = 0.3f;           // transformer only
  Act act = Act::kTanh;           // ends bridges and label encoders
  DType dtype = DType::kF32;      // of activations; weights, LSTM cells, label codes and losses are f32
  bool recompute = false;         // gradient checkpointing of the transformer's attention
  AuxiliaryCoverage auxiliary{};  // of the transformer's encoders
  bool faithful = false;  // as the original: LSTMs and the embedding's mean run over padding, the LSTM is read at the
                          // last position, label decoders squash their logits by tanh, codes are made for each sample
};

// All read "tokens" [B, T] i32, padded with 0 on the right, and "labels". Each StageNet has an Init of its own.
// The feature that a stage's bridge or projector takes: the mean of the embedding or of the transformer's output over
// the tokens, the sum of the LSTM's two final states. A contrastive network ends in Linear, tanh, Linear on it.

/// Embedding, bidirectional LSTMs that carry their states from stage to stage, Linear. Time runs along the first
/// dimension between stages.
std::vector<StageNet> lstm_backprop(const TextConfig& config);
std::vector<StageNet> lstm_associated(const TextConfig& config);
std::vector<StageNet> lstm_contrastive(const TextConfig& config, const ContrastiveOptions& codes = {});

/// The baseline without a sequence: the mean of the embeddings over the tokens, Linear. Two stages.
std::vector<StageNet> bag_of_embeddings_backprop(const TextConfig& config);

/// Embedding (no positions), pre-norm encoders, masked mean, Linear (Vaswani et al. 2017).
std::vector<StageNet> transformer_backprop(const TextConfig& config);
std::vector<StageNet> transformer_associated(const TextConfig& config);
std::vector<StageNet> transformer_contrastive(const TextConfig& config, const ContrastiveOptions& codes = {});

}  // namespace sluice
