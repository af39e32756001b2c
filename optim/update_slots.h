// The device side of one arena's updates: the segment table and the slot of the step's scalars.
#pragma once

#include "kernels/common/step_scalars.h"
#include "optim/optimizer.h"

namespace sluice {

/// Made at the first step; later steps only write the scalars.
class UpdateSlots {
 public:
  /// Queues the scalars of a step; bias corrections are the caller's. Throws as Optimizer::step.
  void set(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups, StepScalars scalars);
  ConstRef segments() const { return segments_.cref(); }
  ConstRef scalars() const { return scalars_.cref(); }

 private:
  Tensor segments_, scalars_;
  StoragePtr values_;  // of the arena that is served
  int groups_ = 0;
};

}  // namespace sluice
