// 1F1B where stages have several workers each, which take micro-batches in turn (PipeDream's hybrid configurations).
#include <algorithm>
#include <numeric>

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

void expect_workers(const std::vector<int>& workers_of) {
  if (workers_of.empty()) throw ScheduleError("side_by_side: no stages, expected at least one");
  for (size_t s = 0; s < workers_of.size(); ++s)
    if (workers_of[s] < 1)
      throw ScheduleError(str("side_by_side: stage ", s, " on ", workers_of[s], " workers, expected 1 or more"));
}

}  // namespace

InstancePlacement side_by_side(const std::vector<int>& workers_of) {
  expect_workers(workers_of);
  InstancePlacement all;
  for (int s = 0, w = 0; s < int(workers_of.size()); w += workers_of[size_t(s++)]) {
    all.placement.push_back(w);
    all.stage_of.push_back(s);
  }
  for (int s = 0; s < int(workers_of.size()); ++s)
    for (int i = 1; i < workers_of[size_t(s)]; ++i) {
      all.placement.push_back(all.placement[size_t(s)] + i);
      all.stage_of.push_back(s);
    }
  return all;
}

Plan one_f_one_b_side_by_side(const std::vector<int>& workers_of, int mbs) {
  expect_mbs("one_f_one_b_side_by_side", mbs);
  const InstancePlacement all = side_by_side(workers_of);
  if (mbs < *std::max_element(workers_of.begin(), workers_of.end()))
    throw ScheduleError(str("one_f_one_b_side_by_side: ", mbs,
                            " micro-batches a step, expected one for each worker of a stage, or more"));
  int workers_from_here = std::accumulate(workers_of.begin(), workers_of.end(), 0);
  Plan plan(static_cast<size_t>(workers_from_here));
  for (int s = 0; s < int(workers_of.size()); ++s) {
    const int beside = workers_of[size_t(s)], ahead = (workers_from_here - 1) / beside;
    for (int i = 0, instance = s; i < beside; ++i) {
      const size_t worker = size_t(all.placement[size_t(s)] + i);
      while (all.placement[size_t(instance)] != int(worker)) ++instance;
      Program& p = plan[worker];
      const int mine = (mbs - i + beside - 1) / beside, warm = std::min(ahead, mine);
      for (int k = 0; k < mine + warm; ++k) {
        if (k < mine) add_forward(p.period, {instance}, i + k * beside);
        if (k >= warm) add_backward(p.period, {instance}, i + (k - warm) * beside);
      }
      if (beside > 1) add_sum(p.period, {instance}, 0);
      add_update(p.period, {instance}, 0);
      p.mbs_per_period = mbs;
    }
    workers_from_here -= beside;
  }
  return plan;
}

}  // namespace sluice
