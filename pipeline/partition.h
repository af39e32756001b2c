// Which stages go on which worker, from what each stage costs.
#pragma once

#include <vector>

#include "pipeline/action.h"

namespace sluice {

/// A placement and the largest sum of costs that one worker carries.
struct Partition {
  Placement placement;
  double largest_load = 0;
};

/// The placement of the stages on `workers` workers that minimises the largest load; each worker gets a stage.
/// Contiguous: each worker has one run of stages, in order (exact, dynamic programming). Otherwise any: exact up to
/// 16 stages (branch and bound), beyond that longest first onto the least loaded. Of equals, the one that is first in
/// the order of placements. Throws ScheduleError when there are fewer stages than workers or a cost is negative.
Partition partition(const std::vector<double>& costs, int workers, bool contiguous);

}  // namespace sluice
