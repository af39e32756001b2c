// SpecTrain: both passes on foretold weights, so that all stages meet at one point in time.
#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

WeightRead ahead_to_meeting(const PassAt& at) {
  return {.version = at.updates, .ahead = at.worker / 2 + at.workers - at.worker - 1};
}
WeightRead behind_meeting(const PassAt& at) { return {.version = at.updates, .ahead = at.worker / 2}; }

}  // namespace

LearningRule spectrain() {
  return foretelling(Lookahead::kDirection,
                     asynchronous("spectrain", "asynchronous, forward and backward on foretold weights",
                                  ahead_to_meeting, behind_meeting));
}

}  // namespace sluice
