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

/// Contiguous as well, by torchgpipe's heuristic (Barany and Grinberg, "Block partitions of sequences"): from runs of
/// equal length on, elements move towards small runs until the largest load is at most the smallest plus one stage's
/// cost. For costs that are no sums, such as measured peaks; for others partition() is exact.
Partition partition_blocks(const std::vector<double>& costs, int workers);

}  // namespace sluice
