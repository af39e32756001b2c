// The device side of one arena's updates: the segment table and the slots of the step's scalars.
#pragma once

#include "kernels/common/forecast.h"
#include "optim/optimizer.h"

namespace sluice {

/// What an optimiser foretells weights from between its steps: numbers that it keeps for each weight, undefined where
/// the direction does not take them, and its bias corrections.
struct ForecastSource {
  DirectionRule direction;
  Tensor m{}, v{};
  StepScalars scalars{};
};

/// Made at the first step; later steps only write the scalars.
class UpdateSlots {
 public:
  /// `decoupled`: weight decay shrinks the weights instead of entering the gradient.
  explicit UpdateSlots(bool decoupled = false) : decoupled_(decoupled) {}

  /// Queues the scalars of a step, and zeroes for gradients that nobody wrote; bias corrections are the caller's.
  /// Throws as Optimizer::step.
  void begin(Arena& arena, const Stream& stream, const Update& update, StepScalars scalars);
  /// After the launch: a new version of the weights, and the next gradients start new sums.
  static void end(Arena& arena, const Update& update);
  ConstRef segments() const { return segments_.cref(); }
  ConstRef scalars() const { return scalars_.cref(); }

  /// Queues a forecast of an arena's weights as they are. Throws as Optimizer::forecast.
  void forecast(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups,
                const Forecast& forecast, ForecastSource source);

 private:
  void serve(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups);
  ForecastScalars factors(const std::vector<GroupSettings>& groups, const Forecast& forecast) const;

  bool decoupled_;
  Tensor segments_, scalars_, forecast_scalars_;
  StoragePtr grads_;  // of the arena that is served; its values may change their place
  int groups_ = 0;
};

}  // namespace sluice
