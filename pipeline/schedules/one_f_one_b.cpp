// 1F1B with a flush: worker w of n runs n - 1 - w forwards ahead, then alternates, then runs the backwards left over.
#include <algorithm>

#include "pipeline/schedules.h"

namespace sluice {

Plan one_f_one_b(const Placement& placement, int mbs) {
  expect_mbs("one_f_one_b", mbs);
  const auto stages_of = contiguous_stages("one_f_one_b", placement);
  const int workers = int(stages_of.size());
  Plan plan;
  for (int w = 0; w < workers; ++w) {
    const std::vector<int>& stages = stages_of[size_t(w)];
    const int warm = std::min(workers - 1 - w, mbs);
    Program p;
    for (int mb = 0; mb < warm; ++mb) add_forward(p.period, stages, mb);
    for (int mb = warm; mb < mbs; ++mb) {
      add_forward(p.period, stages, mb);
      add_backward(p.period, stages, mb - warm);
    }
    for (int mb = mbs - warm; mb < mbs; ++mb) add_backward(p.period, stages, mb);
    add_update(p.period, stages, 0);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
