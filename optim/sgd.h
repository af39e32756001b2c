// Stochastic gradient descent with momentum, dampening, weight decay and Nesterov's step, as torch.optim.SGD.
#pragma once

#include <optional>

#include "optim/update_slots.h"

namespace sluice {

struct SgdOptions {
  float momentum = 0.9f;   // 0: plain SGD, which keeps no state
  bool nesterov = false;   // needs momentum and no dampening
  float dampening = 0.0f;  // of what gradients add to the momentum, from the second step on; needs momentum
  /// Forecasts that may be asked for between the steps (Optimizer::forecast), or with tables. Without momentum, and for
  /// those of the released code, SGD then keeps the last gradient, decay included.
  std::optional<Lookahead> remember{};
};

/// Forecasts leave Nesterov's step out, as PipeOptim's paper and code do; those without momentum take the last gradient
/// for the direction.
class Sgd final : public Optimizer {
 public:
  /// Throws ConfigError for a momentum or dampening outside [0, 1), for Nesterov's step without momentum or with
  /// dampening, and for dampening without momentum.
  explicit Sgd(SgdOptions options = {});
  std::vector<Weights> step(Arena& arena, const Stream& stream, const Update& update) override;
  Weights forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast) override;
  std::vector<std::string> state_names() const override;

 private:
  bool has_momentum() const { return options_.momentum != 0.0f; }
  bool keeps_gradient() const {
    return options_.remember && (!has_momentum() || *options_.remember == Lookahead::kReleased);
  }
  Tensor momentum(Arena& arena, const Stream& stream) const;
  Tensor gradient(Arena& arena, const Stream& stream) const;
  ForecastSource source(Arena& arena, const Stream& stream, Lookahead how) const;

  SgdOptions options_;
  UpdateSlots slots_;
};

}  // namespace sluice
