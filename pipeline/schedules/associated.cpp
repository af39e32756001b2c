// Associated learning, one worker: a stage finishes its step before the next stage starts, since nothing comes back.
#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {

Plan associated(const Placement& placement, int mbs) {
  if (count_workers(placement) != 1) throw ScheduleError("associated: more than one worker in the placement");
  return associated_streaming(placement, mbs);
}

}  // namespace sluice
