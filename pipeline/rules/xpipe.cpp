// XPipe: a step's first micro-batch, the bellwether, foretells the weights that all of the step read.
#include <algorithm>
#include <cmath>

#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

/// Behind as many updates as the stage had made when the bellwether came: workers - worker - 1 micro-batches of earlier
/// steps were still on their way back.
WeightRead of_bellwether(const PassAt& at) {
  const int64_t first = at.mb / at.mbs_per_step * at.mbs_per_step, behind = at.workers - at.worker - 1;
  const double mbs = at.mbs_per_step;
  return {.version = std::max<int64_t>(0, first - behind) / at.mbs_per_step,
          .ahead = std::llround((at.workers + mbs - at.worker / 2.0 - 2) / mbs)};
}
WeightRead ahead_by_half_depth(const PassAt& at) {
  const double mbs = at.mbs_per_step;
  return {.version = at.updates, .ahead = std::llround((mbs + at.worker / 2 - 1) / mbs)};
}

}  // namespace

LearningRule xpipe() {
  return foretelling(Lookahead::kDirection,
                     asynchronous("xpipe", "asynchronous, one forecast a step for all its micro-batches", of_bellwether,
                                  ahead_by_half_depth));
}

}  // namespace sluice
