// All forwards of a step, then all backwards, in ascending order of micro-batches.
#include "pipeline/schedules.h"

namespace sluice {

Plan gpipe(const Placement& placement, int mbs) {
  expect_mbs("gpipe", mbs);
  Plan plan;
  for (const std::vector<int>& stages : contiguous_stages("gpipe", placement)) {
    Program p;
    for (int mb = 0; mb < mbs; ++mb) add_forward(p.period, stages, mb);
    for (int mb = 0; mb < mbs; ++mb) add_backward(p.period, stages, mb);
    add_update(p.period, stages, 0);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
