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

ForecastSource Rmsprop::source(Arena& arena, const Stream& stream) const {
  return {{.kind = Direction::kAdaptive, .eps = options_.eps},
          options_.remember ? arena.state(stream, 1) : Tensor(),
          arena.state(stream, 0)};
}

std::vector<Weights> Rmsprop::step(Arena& arena, const Stream& stream, const Update& update) {
  const std::vector<ForecastSource> sources(update.forecasts.size(), source(arena, stream));
  slots_.begin(arena, stream, update, sources, {});
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
  UpdateSlots::fill(call.forecasts, update, sources);
  launch(call, stream);
  return slots_.end(arena, update, sources);
}

Weights Rmsprop::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                          const Forecast& forecast) {
  const ForecastSource none{.direction = {.kind = Direction::kNone}};
  return slots_.forecast(arena, stream, groups, forecast, updates == 0 ? none : source(arena, stream), {});
}

std::vector<std::string> Rmsprop::state_names() const {
  if (options_.remember) return {"rmsprop.v", "rmsprop.gradient"};
  return {"rmsprop.v"};
}

}  // namespace sluice
