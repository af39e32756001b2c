// Optimisers update a whole arena in one call, on the stream, from scalars that live on the device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/param.h"

namespace sluice {

/// Settings of one parameter group for one step.
struct GroupSettings {
  float lr = 1e-3f;
  float weight_decay = 0.0f;
};

/// One optimiser serves one arena, since its moments and scalars lie there and next to it.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Queues one update of every parameter and makes a new weight version. Takes the arena's gradients: those that
  /// nobody wrote count as zero, and the next gradient of each parameter starts a new sum. `step` counts from 0 and
  /// sets bias corrections; groups[g] are the settings of group g. `finite` (a device i32 [1], may be undefined): where
  /// it is 0 the update changes nothing. Throws ConfigError when a group of the arena has no settings, Error when the
  /// arena is another one than at the first step.
  virtual void step(Arena& arena, const Stream& stream, int64_t step, const std::vector<GroupSettings>& groups,
                    const Tensor& finite) = 0;
  /// Moments kept per parameter (none for plain SGD): the name of Arena::state(k) in checkpoints ("adam.m", "adam.v").
  virtual std::vector<std::string> state_names() const = 0;
};
using OptimizerPtr = std::unique_ptr<Optimizer>;

}  // namespace sluice
