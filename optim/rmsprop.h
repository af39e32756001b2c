// RMSprop (Tieleman, Hinton, lecture 6.5 of Neural Networks for Machine Learning, 2012), as torch.optim.RMSprop without
// momentum and not centred.
#pragma once

#include "optim/update_slots.h"

namespace sluice {

struct RmspropOptions {
  double alpha = 0.99;  // decay of the mean square
  float eps = 1e-8f;
  /// Forecasts may be asked for between the steps (Optimizer::forecast), or with tables: the last gradient, decay
  /// included, is kept.
  bool remember = false;
};

/// Forecasts move by g / (sqrt(v) + eps), whichever way they are asked for; decay is in g.
class Rmsprop final : public Optimizer {
 public:
  /// Throws ConfigError for an alpha outside [0, 1) and an eps that is not positive.
  explicit Rmsprop(RmspropOptions options = {});
  std::vector<Weights> step(Arena& arena, const Stream& stream, const Update& update) override;
  Weights forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast) override;
  std::vector<std::string> state_names() const override;

 private:
  ForecastSource source(Arena& arena, const Stream& stream) const;

  RmspropOptions options_;
  UpdateSlots slots_;
};

}  // namespace sluice
