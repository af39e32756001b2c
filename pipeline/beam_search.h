// Greedy and beam search: the sequences that a trained encoder-decoder network finds likely.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/stage.h"

namespace sluice {

struct SearchOptions {
  int beam = 1;                 // sequences that are followed for each source; 1: greedy
  int64_t max_len = 100;        // tokens of a result, at most
  float length_penalty = 0.6f;  // alpha of Wu et al. (2016), equation 14: log p / ((5 + n) / 6)^alpha decides among
                                // results of n tokens, their end included
  float coverage_penalty = 0;   // beta there: beta sum_k log(min(1, the attention that source token k got)) is added;
                                // a token that got none, such as padding, counts 0
  int32_t begin = 2, end = 3;   // marks; 0 is padding
};

/// The best result for each source, without marks. Stages that take "target" and hand it on are the encoder, and run
/// once; those behind them run once for each further token, over all tokens so far. A source is done when as many
/// results have ended as the beam is wide and none that grows is likelier than all of them. Equal scores go to the
/// smaller token, and to the sequence that was better before. A source is at least one token. Throws ConfigError for
/// options out of range, for a source without tokens, for networks without a decoder, and for a coverage penalty where
/// there is not one additive attention.
std::vector<std::vector<int32_t>> beam_search(Stages stages, const std::vector<std::vector<int32_t>>& sources,
                                              const SearchOptions& options);

}  // namespace sluice
