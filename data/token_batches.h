// Micro-batches of samples of like length under a budget of tokens, so that little is padded.
#pragma once

#include "data/sample_source.h"

namespace sluice {

/// Cuts the samples, sorted by length with ties in an order drawn from the seed, into batches whose count times longest
/// length is at most `tokens`. Throws ConfigError for a sample that alone is longer.
std::vector<std::vector<int32_t>> token_batches(const SampleSource& source, const std::vector<int32_t>& samples,
                                                int64_t tokens, uint64_t seed);

}  // namespace sluice
