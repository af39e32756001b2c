// The schedules, computed in double.
#include "optim/schedules.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/error.h"

namespace sluice {

Schedule constant_rate(float base) {
  return [=](int64_t) { return base; };
}

Schedule cosine_rate(float base, float end, int64_t epochs) {
  if (epochs <= 0) throw ConfigError(str("cosine schedule: over ", epochs, " epochs, expected at least 1"));
  return [=](int64_t epoch) {
    constexpr double kPi = 3.14159265358979323846;
    const double part = double(std::min(epoch, epochs)) / double(epochs);
    return float(double(end) + (double(base) - double(end)) * 0.5 * (1.0 + std::cos(kPi * part)));
  };
}

Schedule step_decay(float base, float factor, int64_t every) {
  if (every <= 0) throw ConfigError(str("step decay: every ", every, " epochs, expected at least 1"));
  return [=](int64_t epoch) { return float(double(base) * std::pow(double(factor), double(epoch / every))); };
}

}  // namespace sluice
