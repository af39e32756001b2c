// The residual LSTM that SpecTrain and PipeOptim classify IMDb's reviews with (Chen, Yang and Cheng 2018).
#pragma once

#include "models/units.h"

namespace sluice {

struct ResidualLstmConfig {
  int64_t vocabulary = 10'000;  // ids below; 0 is padding
  int64_t classes = 2;
  int64_t width = 128;        // of the embedding, the LSTMs and the linear layers
  int blocks = 4;             // a stage each
  DType dtype = DType::kF32;  // of activations; weights, LSTM cells and losses are f32
  bool faithful = false;      // as the original: the mean runs over padding
};

/// Embedding; blocks s + Linear(LSTM(s)); Linear on the mean over the tokens. Time runs along the first dimension.
/// Reads "tokens" [B, T] i32, padded with 0 on the right, and "labels". The units are embedding, block1 to block4 and
/// head; the usual cuts put the embedding to the first block and the head to the last. 1,874,690 parameters by default.
/// Throws ConfigError for sizes out of range.
UnitNet residual_lstm(const ResidualLstmConfig& config);

}  // namespace sluice
