// What the schedules share whose micro-batches go through the workers in both directions.
#pragma once

#include <array>
#include <vector>

#include "pipeline/action.h"

namespace sluice {

/// The instances of stages on a worker, by the direction that they serve: 0, from worker 0 on, takes the even
/// micro-batches of a step, 1 the odd ones, the other way round. Those of direction 0 are the first of their stages.
using TwoWays = std::array<std::vector<int>, 2>;

/// Those of all workers, from the placement of instances that both_ways() gives. Throws ScheduleError for another one,
/// and unless the number of workers is even.
std::vector<TwoWays> two_ways(const char* schedule, const Placement& placement);

/// How many workers a direction has behind it on worker w.
constexpr int depth_of(int direction, int w, int workers) { return direction == 0 ? w : workers - 1 - w; }

/// Appends the sums of gradients, first instances first, since the others wait for those, and the updates.
void add_sums_and_updates(std::vector<Action>& to, const TwoWays& stages);

}  // namespace sluice
