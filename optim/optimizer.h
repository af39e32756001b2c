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

/// How later weights are foretold (Guan et al., PipeOptim, 2025): W - lr ahead D, with D the direction of the last
/// step.
enum class Lookahead : uint8_t {
  kDirection,   // the paper's Table I: D is SGD's momentum, Adam's m^ / (sqrt(v^) + eps); decoupled decay is left out
  kDecayAware,  // with the decay of every step where it is decoupled: (1 - lr l)^a W - lr D sum_{k<a} (1 - lr l)^k
  kReleased  // the released code: SGD's momentum recursion once more over the same gradient, u m + (1 - dampening) g,
             // decay included; Adam with an eps of 1e-8. That code looks one step further: `ahead` is the caller's
};

/// Weights `ahead` updates later, and where they go.
struct Forecast {
  /// f32, nothing else of the arena; of the arena's size, or of its dense_size(): then rows of tables are foretold as
  /// they are read, until the next update.
  Tensor to;
  int64_t ahead = 0;
  Lookahead how = Lookahead::kDirection;
};

/// One update of an arena.
struct Update {
  int64_t step = 0;  // counts from 0; sets bias corrections
  const std::vector<GroupSettings>& groups;
  Tensor finite{};                    // device i32 [1], may be undefined: where it is 0 the update changes nothing
  Tensor next{};                      // where the new weights go, f32 of the arena's size; undefined: in place
  std::vector<Forecast> forecasts{};  // of the new weights, written in the same pass; at most kMaxForecasts, one size
};

/// One optimiser serves one arena, since its moments and scalars lie there and next to it.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Queues one update of every parameter and makes a new weight version. Takes the arena's gradients: those that
  /// nobody wrote count as zero, and the next gradient of each parameter starts a new sum. With `next`, that becomes
  /// the arena's values and the old ones stay as they were. A skipped update copies the old weights to `next` and the
  /// forecasts. Returns the foretold weights, in their order. Throws ConfigError when a group of the arena has no
  /// settings, Error when the arena is another one than at the first step, a forecast looks back or the optimiser does
  /// not keep what rows of tables are foretold from, ShapeError or DTypeError for a target that does not fit.
  virtual std::vector<Weights> step(Arena& arena, const Stream& stream, const Update& update) = 0;
  /// Queues a forecast from weights and moments as they are after `updates` steps; after none it is the weights. The
  /// same bits as a forecast of the last step, if nothing was skipped. Throws as step(), and Error where the optimiser
  /// does not keep what the forecast needs.
  virtual Weights forecast(Arena& arena, const Stream& stream, int64_t updates,
                           const std::vector<GroupSettings>& groups, const Forecast& forecast) = 0;
  /// Moments kept per parameter (none for plain SGD): the name of Arena::state(k) in checkpoints ("adam.m", "adam.v").
  virtual std::vector<std::string> state_names() const = 0;
};
using OptimizerPtr = std::unique_ptr<Optimizer>;

}  // namespace sluice
