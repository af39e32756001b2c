// Adam (Kingma, Ba, ICLR 2015) and AdamW (Loshchilov, Hutter, ICLR 2019), as torch.optim.Adam and AdamW.
#pragma once

#include "optim/update_slots.h"

namespace sluice {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999;
  float eps = 1e-8f;
  bool decoupled = false;  // AdamW: weight decay shrinks the weights instead of entering the gradient
};

class Adam final : public Optimizer {
 public:
  /// Throws ConfigError for a beta outside [0, 1) and an eps that is not positive.
  explicit Adam(AdamOptions options = {});
  std::vector<Weights> step(Arena& arena, const Stream& stream, const Update& update) override;
  Weights forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast) override;
  std::vector<std::string> state_names() const override;

 private:
  StepScalars corrections(int64_t updates) const;
  ForecastSource source(Arena& arena, const Stream& stream, Lookahead how) const;

  AdamOptions options_;
  UpdateSlots slots_;
};

}  // namespace sluice
