// Stochastic gradient descent with momentum, weight decay and Nesterov's step, as torch.optim.SGD without dampening.
#pragma once

#include "optim/update_slots.h"

namespace sluice {

struct SgdOptions {
  float momentum = 0.9f;  // 0: plain SGD, which keeps no state
  bool nesterov = false;  // needs momentum
};

class Sgd final : public Optimizer {
 public:
  /// Throws ConfigError for a momentum outside [0, 1) and for Nesterov's step without momentum.
  explicit Sgd(SgdOptions options = {});
  void step(Arena& arena, const Stream& stream, int64_t step, const std::vector<GroupSettings>& groups,
            const Tensor& finite) override;
  std::vector<std::string> state_names() const override;

 private:
  SgdOptions options_;
  UpdateSlots slots_;
};

}  // namespace sluice
