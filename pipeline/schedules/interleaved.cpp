// Interleaved 1F1B: a worker takes p micro-batches through one of its stages, then through the next, forward and back.
#include <algorithm>

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

/// The order in which a worker meets micro-batches and its own stages: p micro-batches a stage, turn by turn.
struct Turns {
  int workers, own;  // p, stages of each worker
  Action action(Do what, int worker, int64_t k) const {
    const int64_t turn = int64_t(workers) * own, at = k % turn / workers;
    const auto chunk = int(what == Do::kForward ? at : own - 1 - at);
    return act(what, chunk * workers + worker, k / turn * workers + k % workers);
  }
};

}  // namespace

Plan interleaved(const Placement& placement, int mbs) {
  expect_mbs("interleaved", mbs);
  const int workers = count_workers(placement), own = int(placement.size()) / workers;
  if (int(placement.size()) == workers) return one_f_one_b(placement, mbs);
  for (size_t s = 0; s < placement.size(); ++s)
    if (placement[s] != int(s) % workers || int(placement.size()) % workers != 0)
      throw ScheduleError(str("interleaved: ", placement.size(), " stages, stage ", s, " on worker ", placement[s],
                              " of ", workers, ", expected as many for each worker, in turn"));
  if (mbs % workers != 0)
    throw ScheduleError(
        str("interleaved: ", mbs, " micro-batches a step, expected a multiple of ", workers, " workers"));
  const Turns turns{workers, own};
  const int64_t all = int64_t(mbs) * own;
  Plan plan;
  for (int w = 0; w < workers; ++w) {
    const int64_t warm = std::min<int64_t>(all, 2 * (workers - 1 - w) + int64_t(own - 1) * workers);
    Program p;
    for (int64_t k = 0; k < warm; ++k) p.period.push_back(turns.action(Do::kForward, w, k));
    for (int64_t k = warm; k < all; ++k) {
      p.period.push_back(turns.action(Do::kForward, w, k));
      p.period.push_back(turns.action(Do::kBackward, w, k - warm));
    }
    for (int64_t k = all - warm; k < all; ++k) p.period.push_back(turns.action(Do::kBackward, w, k));
    for (int i = 0; i < own; ++i) p.period.push_back(act(Do::kUpdate, i * workers + w, 0));
    p.mbs_per_period = mbs;
    plan.push_back(p);
  }
  return plan;
}

}  // namespace sluice
