// Bytes that a training step keeps for its backward pass by the accounting of auxiliary activation learning (Woo and
// Jeon, ICLR 2023): closed forms from shapes alone, f32, as the authors' code keeps them. Sluice's own ledger counts
// what it really keeps; docs/auxiliary-activation.md lists where the two differ.
#pragma once

#include "layers/auxiliary.h"
#include "models/auxiliary_resnet.h"

namespace sluice {

struct PaperBytes {
  int64_t per_sample = 0;
  int64_t per_batch = 0;  // whatever the number of samples: batch norm's statistics
  int64_t of(int64_t batch) const { return batch * per_sample + per_batch; }
  bool operator==(const PaperBytes&) const = default;
};

/// A residual network of the auxiliary form, without the logits. With `recompute` its stem counts nothing (only the
/// images are kept), without it, with the packed ReLU and 8-byte pool indices of the authors' second code. Throws
/// ConfigError for the usual networks, for which there is no such form.
PaperBytes paper_bytes(const AuxiliaryResnetConfig& config);

/// Which linear layers of a network of tokens follow a rule: as AuxiliaryCoverage.
struct PaperRule {
  Auxiliary from = Auxiliary::kNone;
  int level = 0;
};
struct VitSizes {
  int64_t tokens = 65, width = 384, mlp = 1536, layers = 7, patch = 48;  // the class token counts
};
/// With checkpointed attention, no dropout.
int64_t vit_paper_bytes(const VitSizes& sizes, const PaperRule& rule);

struct MixerSizes {
  int64_t tokens = 64, width = 128, token_mlp = 64, channel_mlp = 512, layers = 8;
};
int64_t mixer_paper_bytes(const MixerSizes& sizes, const PaperRule& rule);

struct TranslationSizes {
  int64_t source = 0, target = 0;  // padded tokens of the batch
  int64_t width = 512, vocabulary = 34'500;
};
/// Encoder and decoder of 6 layers, with checkpointed attention and generator, byte masks for dropout. Of the whole
/// batch.
double transformer_paper_bytes(const TranslationSizes& sizes, const PaperRule& rule);

}  // namespace sluice
