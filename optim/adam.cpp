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
DirectionRule Adam::direction(Lookahead how) const {
  return {.kind = Direction::kAdaptive, .eps = how == Lookahead::kReleased ? 1e-8f : options_.eps};
}

void Adam::step(Arena& arena, const Stream& stream, const Update& update) {
  slots_.begin(arena, stream, update, corrections(update.step + 1));
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
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    call.forecasts[k] = {.to = update.forecasts[k].to.ref(), .direction = direction(update.forecasts[k].how)};
  launch(call, stream);
  UpdateSlots::end(arena, update);
}

void Adam::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                    const Forecast& forecast) {
  ForecastSource source{.direction = {.kind = Direction::kNone}};
  if (updates > 0)
    source = {direction(forecast.how), arena.state(stream, 0), arena.state(stream, 1), corrections(updates)};
  slots_.forecast(arena, stream, groups, forecast, std::move(source));
}

std::vector<std::string> Adam::state_names() const { return {"adam.m", "adam.v"}; }

}  // namespace sluice
