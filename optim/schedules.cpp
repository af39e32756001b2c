// The schedules, computed in double.
#include "optim/schedules.h"

#include <algorithm>
#include <cmath>
#include <utility>

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

Schedule multistep_decay(float base, float factor, std::vector<int64_t> milestones) {
  for (size_t i = 1; i < milestones.size(); ++i)
    if (milestones[i] < milestones[i - 1])
      throw ConfigError(
          str("multistep: milestone ", milestones[i], " behind ", milestones[i - 1], ", expected rising ones"));
  return [=, all = std::move(milestones)](int64_t epoch) {
    const auto reached = std::upper_bound(all.begin(), all.end(), epoch) - all.begin();
    return float(double(base) * std::pow(double(factor), double(reached)));
  };
}

Schedule warmed_up(Schedule after, int64_t epochs) {
  if (epochs < 0) throw ConfigError(str("warm-up: over ", epochs, " epochs, expected at least 0"));
  if (epochs == 0) return after;
  return [after = std::move(after), epochs](int64_t epoch) {
    if (epoch > epochs) return after(epoch - epochs - 1);
    return float(double(after(0)) * double(epoch) / double(epochs));
  };
}

Schedule noam_rate(int64_t width, int64_t warmup) {
  if (width <= 0 || warmup <= 0)
    throw ConfigError(str("noam: width ", width, " and ", warmup, " steps of warm-up, expected positive numbers"));
  return [=](int64_t step) {
    const double s = double(step + 1);
    return float(std::min(1 / std::sqrt(s), s * std::pow(double(warmup), -1.5)) / std::sqrt(double(width)));
  };
}

}  // namespace sluice
