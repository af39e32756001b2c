// Asynchronous 1F1B: the pipeline is filled once and then never drains before the run ends.
#include "pipeline/schedules.h"

namespace sluice {

Plan async_1f1b(const Placement& placement, int mbs) {
  expect_mbs("async_1f1b", mbs);
  const auto stages_of = contiguous_stages("async_1f1b", placement);
  const int workers = int(stages_of.size());
  Plan plan;
  for (int w = 0; w < workers; ++w) {
    const std::vector<int>& stages = stages_of[size_t(w)];
    // The prologue holds whole steps; what of them goes back before the period starts ends no step.
    const int ahead = workers - 1 - w, filled = (ahead + mbs - 1) / mbs * mbs;
    Program p;
    int back = 0;
    const auto add_back = [&](std::vector<Action>& part) {
      add_backward(part, stages, back);
      if (++back % mbs == 0) add_update(part, stages, back - mbs);
    };
    for (int mb = 0; mb < filled; ++mb) {
      add_forward(p.prologue, stages, mb);
      if (mb >= ahead) add_back(p.prologue);
    }
    const int back_before_period = back;
    for (int mb = filled; mb < filled + mbs; ++mb) {
      add_forward(p.period, stages, mb);
      add_back(p.period);
    }
    back = back_before_period;
    while (back < filled) add_back(p.epilogue);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
