// The pass that puts sends and receives into a plan of compute actions.
#pragma once

#include "pipeline/action.h"
#include "pipeline/wiring.h"

namespace sluice {

/// For each edge between stages on different workers: a send right after the forward that makes the bundle and a
/// receive right before the forward that reads it; where the error crosses, the same backwards round the backwards.
/// Round the sum of gradients of a replicated stage's instances: to the first instance after each other's last
/// backward, and back. Stages on one worker hand over directly. Throws ScheduleError when an edge names a stage that
/// the plan lacks.
Plan add_transfers(const Plan& plan, const Wiring& wiring);

}  // namespace sluice
