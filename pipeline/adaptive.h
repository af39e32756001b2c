// Adaptive inference: a sample leaves behind the first stage that is sure of it.
#pragma once

#include <vector>

#include "pipeline/parcel.h"
#include "pipeline/stage.h"

namespace sluice {

/// What makes an output sure, in [0, 1].
enum class Confidence {
  kMaximum,  // the largest component
  kEntropy   // 1 - H(p) / ln K
};

struct AdaptiveOptions {
  double threshold = 0.9;  // a sample leaves at this confidence or above
  Confidence by = Confidence::kMaximum;
  bool logits = true;  // outputs become probabilities by softmax; else they are in [0, 1] (sigmoid decoders) and the
                       // entropy is that of their shares
};

/// What left behind one stage.
struct Exit {
  int64_t samples = 0, correct = 0;
  double seconds = 0;  // summed over samples, from their batch's start until they were known to leave
  double mean_latency() const { return samples > 0 ? seconds / double(samples) : 0.0; }
};

struct AdaptiveResult {
  std::vector<Exit> exits;  // by stage: the histogram of exits
  int64_t samples() const;
  int64_t correct() const;
  double accuracy() const { return samples() > 0 ? double(correct()) / double(samples()) : 0.0; }
  double mean_latency() const;
};

/// The confidence of each row of `outputs` [rows, classes], computed in double.
std::vector<double> confidence(const std::vector<float>& outputs, int64_t classes, const AdaptiveOptions& options);

/// Batch by batch, behind every stage k: y = decode(1) .. decode(k) of head(k); samples that are sure leave, the others
/// are compacted into a smaller batch and go on; the last stage takes all. The host waits for every stage's outputs,
/// since the next batch's size depends on them. Newest weights, no tape, training = false. Throws ConfigError for a
/// threshold that is not a number.
AdaptiveResult infer_adaptively(Stages stages, const Feed& feed, int64_t batches, const AdaptiveOptions& options);

}  // namespace sluice
