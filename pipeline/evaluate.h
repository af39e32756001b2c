// Forward-only passes over a data set: the accuracy of the newest weights.
#pragma once

#include <vector>

#include "pipeline/parcel.h"
#include "pipeline/stage.h"

namespace sluice {

struct Evaluation {
  int64_t correct = 0, samples = 0;
  double accuracy() const { return samples > 0 ? double(correct) / double(samples) : 0.0; }
};

/// Counts the samples whose largest decoded value is the label's: x through infer() of all stages, head() of the last,
/// decode() from the last to the first. No tape, training = false. The feed is asked on behalf of stage 0 for its first
/// port and for "labels". Batches stream through the devices; the host stays a bounded number of batches ahead.
Evaluation evaluate(const std::vector<StagePtr>& stages, const Feed& feed, int64_t batches);

}  // namespace sluice
