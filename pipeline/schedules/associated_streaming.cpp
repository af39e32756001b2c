// Associated learning, streamed. A worker's stages run in ticks: in tick t its stage s works on step t - lag(s). A
// worker with one lag needs no prologue: it starts as soon as its first input is there.
#include <algorithm>

#include "pipeline/schedules.h"

namespace sluice {
namespace {

struct Lagged {
  int stage = 0;
  int lag = 0;  // relative to the worker's most advanced stage
};

/// The stages of one worker, those with the largest lag first: they free what the others fill.
std::vector<Lagged> stages_of(const Placement& placement, int worker) {
  std::vector<Lagged> mine;
  int lag = 0, least = -1;
  for (size_t s = 0; s < placement.size(); ++s) {
    if (s > 0 && placement[s] != placement[s - 1]) ++lag;
    if (placement[s] != worker) continue;
    if (least < 0) least = lag;
    mine.push_back({int(s), lag - least});
  }
  std::stable_sort(mine.begin(), mine.end(), [](const Lagged& a, const Lagged& b) { return a.lag > b.lag; });
  return mine;
}

void add_step(std::vector<Action>& to, int stage, int64_t step, int mbs) {
  for (int64_t mb = step * mbs; mb < (step + 1) * mbs; ++mb) {
    add_forward(to, {stage}, mb);
    add_backward(to, {stage}, mb);
  }
  add_update(to, {stage}, step * mbs);
}

}  // namespace

Plan associated_streaming(const Placement& placement, int mbs) {
  expect_mbs("associated_streaming", mbs);
  Plan plan;
  for (int w = 0; w < count_workers(placement); ++w) {
    const std::vector<Lagged> mine = stages_of(placement, w);
    const int last = mine.front().lag;
    Program p;
    for (int tick = 0; tick <= 2 * last; ++tick)
      for (const Lagged& l : mine) {
        std::vector<Action>& part = tick < last ? p.prologue : tick == last ? p.period : p.epilogue;
        const bool in_epilogue = tick > last;
        if (tick >= l.lag && (!in_epilogue || tick - last <= l.lag))
          add_step(part, l.stage, in_epilogue ? tick - 1 - l.lag : tick - l.lag, mbs);
      }
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
