// Associated learning, a step at a time over several workers: the two threaded modes of the original. Nothing of a step
// overlaps with the next one.
#include "pipeline/schedules.h"

namespace sluice {
namespace {

std::vector<int> stages_on(const Placement& placement, int worker) {
  std::vector<int> mine;
  for (size_t s = 0; s < placement.size(); ++s)
    if (placement[s] == worker) mine.push_back(int(s));
  return mine;
}

}  // namespace

Plan associated_m(const Placement& placement, int mbs) {
  expect_mbs("associated_m", mbs);
  Plan plan;
  for (int w = 0; w < count_workers(placement); ++w) {
    const std::vector<int> mine = stages_on(placement, w);
    Program p;
    for (int mb = 0; mb < mbs; ++mb) add_forward(p.period, mine, mb);
    add_meeting(p.period, mine.front(), 0);
    for (int s : mine) {
      for (int mb = 0; mb < mbs; ++mb) add_backward(p.period, {s}, mb);
      add_update(p.period, {s}, 0);
    }
    add_meeting(p.period, mine.front(), 1);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

Plan associated_p(const Placement& placement, int mbs) {
  expect_mbs("associated_p", mbs);
  Plan plan;
  for (int w = 0; w < count_workers(placement); ++w) {
    const std::vector<int> mine = stages_on(placement, w);
    Program p;
    for (int s : mine) {
      for (int mb = 0; mb < mbs; ++mb) {
        add_forward(p.period, {s}, mb);
        add_backward(p.period, {s}, mb);
      }
      add_update(p.period, {s}, 0);
    }
    add_meeting(p.period, mine.front(), 0);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
