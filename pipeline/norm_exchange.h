// One norm for the gradients of all workers: what they tell each other before they update.
#pragma once

#include <functional>
#include <vector>

#include "engine/tensor.h"
#include "pipeline/action.h"

namespace sluice {

/// A worker's side of it, on its thread.
struct NormExchange {
  /// Queues the sum of squares of the gradients of each of its stages or instances, ascending: f32 [as many]. They are
  /// complete.
  std::function<Tensor(const Stream& stream)> squares;
  /// Those of all stages, each once, ascending, before the stages are updated at `step`.
  std::function<void(const Stream& stream, int64_t step, const std::vector<float>& all)> take;
};

/// The plan with a meeting before the updates of each step, to which every worker brings its sums. Throws ScheduleError
/// where a worker updates one of its stages before another's gradients are complete, and for plans that have meetings
/// of their own.
Plan meet_before_updates(const Plan& plan);

}  // namespace sluice
