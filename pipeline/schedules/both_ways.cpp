// Stages that lie twice on the workers, once in each direction.
#include "pipeline/schedules/both_ways.h"

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {

InstancePlacement both_ways(const Placement& of_stages) {
  InstancePlacement all{of_stages, {}};
  const int last = count_workers(of_stages) - 1;
  for (int copy = 0; copy < 2; ++copy)
    for (int s = 0; s < int(of_stages.size()); ++s) {
      if (copy == 1) all.placement.push_back(last - of_stages[size_t(s)]);
      all.stage_of.push_back(s);
    }
  return all;
}

std::vector<TwoWays> two_ways(const char* schedule, const Placement& placement) {
  const size_t stages = placement.size() / 2;
  const Placement there(placement.begin(), placement.begin() + ptrdiff_t(stages));
  if (there.empty() || both_ways(there).placement != placement)
    throw ScheduleError(str(schedule, ": ", placement.size(),
                            " instances, expected two of every stage, the second as far from the last worker as the "
                            "first from worker 0"));
  const auto down = contiguous_stages(schedule, there);
  if (down.size() % 2 != 0) throw ScheduleError(str(schedule, ": ", down.size(), " workers, expected an even number"));
  std::vector<TwoWays> all;
  for (size_t w = 0; w < down.size(); ++w) {
    TwoWays mine{down[w], down[down.size() - 1 - w]};
    for (int& s : mine[1]) s += int(stages);
    all.push_back(mine);
  }
  return all;
}

void add_sums_and_updates(std::vector<Action>& to, const TwoWays& stages) {
  for (const std::vector<int>& way : stages) add_sum(to, way, 0);
  for (const std::vector<int>& way : stages) add_update(to, way, 0);
}

}  // namespace sluice
