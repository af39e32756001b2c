// Adam and AdamW: one kernel call over the arena. Bias corrections are computed in double on the host.
#include "optim/adam.h"

#include <cmath>

#include "engine/launch.h"
#include "kernels/adam.h"

namespace sluice {

Adam::Adam(AdamOptions options) : options_(options), slots_(options.decoupled) {
  const auto fraction = [](double x) { return x >= 0.0 && x < 1.0; };
  if (!fraction(options.beta1) || !fraction(options.beta2))
    throw ConfigError(
        str("adam: beta1, beta2 are ", options.beta1, ", ", options.beta2, ", expected numbers in [0, 1)"));
  if (!(options.eps > 0.0f)) throw ConfigError(str("adam: eps is ", options.eps, ", expected a positive number"));
}

StepScalars Adam::corrections(int64_t updates) const {
  StepScalars scalars;
  scalars.bias1 = float(1.0 - std::pow(options_.beta1, double(updates)));
  scalars.root_bias2 = float(std::sqrt(1.0 - std::pow(options_.beta2, double(updates))));
  return scalars;
}
ForecastSource Adam::source(Arena& arena, const Stream& stream, Lookahead how) const {
  const float eps = how == Lookahead::kReleased ? 1e-8f : options_.eps;
  return {{.kind = Direction::kAdaptive, .eps = eps}, arena.state(stream, 0), arena.state(stream, 1)};
}

std::vector<Weights> Adam::step(Arena& arena, const Stream& stream, const Update& update) {
  std::vector<ForecastSource> sources;
  for (const Forecast& f : update.forecasts) sources.push_back(source(arena, stream, f.how));
  slots_.begin(arena, stream, update, sources, corrections(update.step + 1));
  kernels::Adam call{.w = arena.values().ref(),
                     .g = arena.grads().cref(),
                     .m = arena.state(stream, 0).ref(),
                     .v = arena.state(stream, 1).ref(),
                     .view = {},
                     .segments = slots_.segments(),
                     .scalars = slots_.scalars(),
                     .finite = update.finite.cref(),
                     .beta1 = options_.beta1,
                     .beta2 = options_.beta2,
                     .eps = options_.eps,
                     .decoupled = options_.decoupled,
                     .next = update.next.ref()};
  UpdateSlots::fill(call.forecasts, update, sources);
  launch(call, stream);
  return slots_.end(arena, update, sources);
}

Weights Adam::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                       const Forecast& forecast) {
  const ForecastSource none{.direction = {.kind = Direction::kNone}};
  if (updates == 0) return slots_.forecast(arena, stream, groups, forecast, none, {});
  return slots_.forecast(arena, stream, groups, forecast, source(arena, stream, forecast.how), corrections(updates));
}

std::vector<std::string> Adam::state_names() const { return {"adam.m", "adam.v"}; }

}  // namespace sluice
