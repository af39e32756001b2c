// Optimisers update a whole arena in one call, on the stream, from scalars that live on the device.
#pragma once

#include <memory>
#include <vector>

#include "engine/param.h"

namespace sluice {

/// Settings of one parameter group for one step.
struct GroupSettings {
  float lr = 1e-3f;
  float weight_decay = 0.0f;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Queues one update of every parameter from the arena's gradients and makes a new weight version. `step` counts
  /// from 0 and sets bias corrections; groups[g] are the settings of group g. `finite` (a device i32, may be
  /// undefined): where it is 0 the update changes nothing.
  virtual void step(Arena& arena, const Stream& stream, int64_t step, const std::vector<GroupSettings>& groups,
                    const Tensor& finite) = 0;
  /// Moments kept per parameter (0 for plain SGD), and their names in checkpoints ("adam.m", "adam.v").
  virtual std::vector<std::string> state_names() const = 0;
};
using OptimizerPtr = std::unique_ptr<Optimizer>;

}  // namespace sluice
