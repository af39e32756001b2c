// The device side of one arena's updates: the segment table and the slots of the step's scalars.
#pragma once

#include "kernels/common/forecast.h"
#include "optim/optimizer.h"

namespace sluice {

/// What an optimiser foretells weights from: two numbers that it keeps for each weight; undefined where the direction
/// does not take one, or the optimiser does not keep it.
struct ForecastSource {
  DirectionRule direction;
  Tensor m{}, v{};
};

/// Made at the first step; later steps only write the scalars.
class UpdateSlots {
 public:
  /// `decoupled`: weight decay shrinks the weights instead of entering the gradient.
  explicit UpdateSlots(bool decoupled = false) : decoupled_(decoupled) {}

  /// Queues the scalars of a step, and zeroes for gradients that nobody wrote; bias corrections are the caller's, and
  /// so is a source for each forecast. Throws as Optimizer::step.
  void begin(Arena& arena, const Stream& stream, const Update& update, const std::vector<ForecastSource>& sources,
             StepScalars scalars);
  /// The forecasts as operands of the update's kernel.
  static void fill(ForecastTo (&to)[kMaxForecasts], const Update& update, const std::vector<ForecastSource>& sources);
  /// After the launch: a new version of the weights, and the next gradients start new sums. Returns what is foretold.
  std::vector<Weights> end(Arena& arena, const Update& update, const std::vector<ForecastSource>& sources) const;
  ConstRef segments() const { return segments_.cref(); }
  ConstRef scalars() const { return scalars_.cref(); }

  /// Queues a forecast of an arena's weights as they are. Throws as Optimizer::forecast.
  Weights forecast(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast, const ForecastSource& source, StepScalars scalars);

 private:
  void serve(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups);
  ForecastScalars factors(const std::vector<GroupSettings>& groups, const Forecast& forecast) const;

  bool decoupled_;
  Tensor segments_, scalars_;
  StoragePtr grads_;  // of the arena that is served; its values may change their place
  int groups_ = 0;
};

}  // namespace sluice
