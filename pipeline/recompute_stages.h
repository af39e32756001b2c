// Activation recomputation by stage (gradient checkpointing, Chen et al. 2016): a stage keeps its inputs and runs again
// before its backward. Which weights it then reads is Wiring::recompute.
#pragma once

#include "pipeline/action.h"

namespace sluice {

/// Puts a kRecompute before each backward of the stages named, before it waits for gradients. Call before
/// add_transfers(). Throws ScheduleError for a stage that the plan does not have, or one that is recomputed already.
Plan add_recompute(const Plan& plan, const std::vector<int>& stages);

}  // namespace sluice
