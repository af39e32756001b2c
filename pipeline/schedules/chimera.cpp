// Chimera: 1F1B down the workers and 1F1B up, each in the slots where the other waits. A slot is a forward or a
// backward; the slots are numbered as if both took as long, and only their order counts.
#include <algorithm>

#include "engine/error.h"
#include "pipeline/schedules.h"
#include "pipeline/schedules/both_ways.h"

namespace sluice {
namespace {

struct Slot {
  int64_t at;
  Do what;
  int direction;
  int64_t mb;
};

/// No two are at one time: a direction's forwards and the other's backwards are even where the rest is odd, and in each
/// of the two the former end before the latter begin.
std::vector<Slot> slots_of(int w, int workers, int mbs) {
  std::vector<Slot> slots;
  for (int64_t unit = 0; unit < mbs / workers; ++unit)
    for (int64_t j = 0; j < workers / 2; ++j)
      for (const int direction : {0, 1}) {
        const int64_t mb = unit * workers + 2 * j + direction, begin = unit * 2 * workers + 2 * j;
        const int depth = depth_of(direction, w, workers);
        slots.push_back({begin + depth, Do::kForward, direction, mb});
        slots.push_back({begin + 2 * workers - 1 - depth, Do::kBackward, direction, mb});
      }
  std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.at < b.at; });
  return slots;
}

}  // namespace

Plan chimera(const Placement& placement, int mbs) {
  expect_mbs("chimera", mbs);
  const std::vector<TwoWays> stages_of = two_ways("chimera", placement);
  const int workers = int(stages_of.size());
  if (mbs % workers != 0)
    throw ScheduleError(str("chimera: ", mbs, " micro-batches a step, expected a multiple of ", workers, " workers"));
  Plan plan;
  for (int w = 0; w < workers; ++w) {
    const TwoWays& stages = stages_of[size_t(w)];
    Program p;
    for (const Slot& s : slots_of(w, workers, mbs)) {
      const std::vector<int>& mine = stages[size_t(s.direction)];
      s.what == Do::kForward ? add_forward(p.period, mine, s.mb) : add_backward(p.period, mine, s.mb);
    }
    add_sums_and_updates(p.period, stages);
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
