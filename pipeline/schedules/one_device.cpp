// One worker: F0.0 F1.0 D1.0 D0.0, the next micro-batch, then the updates.
#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {

Plan one_device(const Placement& placement, int mbs) {
  expect_mbs("one_device", mbs);
  if (count_workers(placement) != 1) throw ScheduleError("one_device: more than one worker in the placement");
  return naive_split(placement, mbs);
}

}  // namespace sluice
