// PipeDream-2BW: the weights of the step before, on every stage.
#include <algorithm>

#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

WeightRead step_before(const PassAt& at) { return {.version = std::max<int64_t>(0, at.mb / at.mbs_per_step - 1)}; }

}  // namespace

LearningRule pipedream_2bw() {
  return asynchronous("2bw", "asynchronous, every stage one step behind, two weight versions", step_before,
                      forward_weights);
}

}  // namespace sluice
