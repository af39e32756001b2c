// The recurrent translators GNMT-8 and GNMT-16 (Wu et al. 2016), as PipeDream and PipeOptim train and cut them.
#pragma once

#include "models/units.h"

namespace sluice {

struct GnmtConfig {
  int64_t source_vocabulary = 32'320, target_vocabulary = 32'320;  // ids below; 0 is padding
  int64_t hidden = 1024;                                           // units of every LSTM, and width of the embeddings
  int layers = 4;  // of the encoder, and as many of the decoder: 8 of GNMT-16
  float dropout = 0.2f;
  DType dtype = DType::kF32;  // of activations; weights, LSTM cells and losses are f32
};

/// Encoder: embedding, a bidirectional LSTM, LSTMs, which from the third layer on are added to the layer before.
/// Decoder: embedding, an LSTM whose output attends to the encoder's (BahdanauAttention), LSTMs that read the layer
/// before and the context beside it and from the third on are added to the former. Every layer but the first of either
/// half reads the one before with dropout. Then Linear. Time runs along the first dimension.
/// Reads and gives what translation_backprop() does. Of E = encoder and D = decoder the units are E.embedding,
/// E.lstm1, then E.input<k> and E.lstm<k> for each further layer, D.embedding, D.lstm1, D.attention, D.input<k> and
/// D.lstm<k>, classifier. The usual cuts are the four stages of the published scripts for 4 and 8 layers, and none for
/// others; a cut behind a layer's input sends it beside what the layer is added to, as they do.
/// 193,766,977 parameters by default, 277,718,593 with 8 layers. Throws ConfigError for sizes out of range.
UnitNet gnmt(const GnmtConfig& config);

}  // namespace sluice
