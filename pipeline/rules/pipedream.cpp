// PipeDream: backward on the weights of its forward, with or without one version for all stages.
#include <algorithm>

#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

/// Of the first worker when the micro-batch entered it: workers - 1 others were on their way.
WeightRead entered_with(const PassAt& at) {
  return {.version = std::max<int64_t>(0, at.mb - (at.workers - 1)) / at.mbs_per_step};
}

}  // namespace

LearningRule pipedream() {
  return asynchronous("pipedream", "asynchronous, backward on the stashed weights of its forward", newest_weights,
                      forward_weights);
}

LearningRule pipedream_vertical() {
  return asynchronous("pipedream_vertical", "pipedream with one version on all stages (vertical sync)", entered_with,
                      forward_weights);
}

}  // namespace sluice
