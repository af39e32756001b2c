// RMSprop: one kernel call over the arena.
#include "optim/rmsprop.h"

#include "engine/launch.h"
#include "kernels/rmsprop.h"

namespace sluice {

Rmsprop::Rmsprop(RmspropOptions options) : options_(options) {
  if (!(options.alpha >= 0.0 && options.alpha < 1.0))
    throw ConfigError(str("rmsprop: alpha is ", options.alpha, ", expected a number in [0, 1)"));
  if (!(options.eps > 0.0f)) throw ConfigError(str("rmsprop: eps is ", options.eps, ", expected a positive number"));
}

void Rmsprop::step(Arena& arena, const Stream& stream, const Update& update) {
  slots_.begin(arena, stream, update, {});
  kernels::Rmsprop call{.w = arena.values().ref(),
                        .g = arena.grads().cref(),
                        .v = arena.state(stream, 0).ref(),
                        .view = {},
                        .segments = slots_.segments(),
                        .scalars = slots_.scalars(),
                        .finite = update.finite.cref(),
                        .alpha = options_.alpha,
                        .eps = options_.eps,
                        .next = update.next.ref(),
                        .last = options_.remember ? arena.state(stream, 1).ref() : Ref{}};
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    call.forecasts[k] = {.to = update.forecasts[k].to.ref(), .direction = direction()};
  launch(call, stream);
  UpdateSlots::end(arena, update);
}

void Rmsprop::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                       const Forecast& forecast) {
  ForecastSource source{.direction = {.kind = Direction::kNone}};
  if (updates > 0) {
    if (!options_.remember)
      throw Error("rmsprop: a forecast between steps needs the last gradient, expected RmspropOptions::remember");
    source = {.direction = direction(), .m = arena.state(stream, 1), .v = arena.state(stream, 0)};
  }
  slots_.forecast(arena, stream, groups, forecast, std::move(source));
}

std::vector<std::string> Rmsprop::state_names() const {
  if (options_.remember) return {"rmsprop.v", "rmsprop.gradient"};
  return {"rmsprop.v"};
}

}  // namespace sluice
