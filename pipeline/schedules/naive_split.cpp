// Each micro-batch forward and back before the next: the transfers make the other workers wait.
#include "pipeline/schedules.h"

namespace sluice {

Plan naive_split(const Placement& placement, int mbs) {
  expect_mbs("naive_split", mbs);
  Plan plan;
  for (const std::vector<int>& stages : contiguous_stages("naive_split", placement)) {
    Program p;
    for (int mb = 0; mb < mbs; ++mb) {
      add_forward(p.period, stages, mb);
      add_backward(p.period, stages, mb);
    }
    add_update(p.period, stages, 0);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
