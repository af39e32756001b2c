// SGD: one kernel call over the arena.
#include "optim/sgd.h"

#include "engine/launch.h"
#include "kernels/sgd.h"

namespace sluice {

Sgd::Sgd(SgdOptions options) : options_(options) {
  const auto fraction = [](float x) { return x >= 0.0f && x < 1.0f; };
  if (!fraction(options.momentum))
    throw ConfigError(str("sgd: momentum is ", options.momentum, ", expected a number in [0, 1)"));
  if (!fraction(options.dampening))
    throw ConfigError(str("sgd: dampening is ", options.dampening, ", expected a number in [0, 1)"));
  if (options.nesterov && (options.momentum == 0.0f || options.dampening != 0.0f))
    throw ConfigError("sgd: Nesterov's step needs momentum > 0 and no dampening");
  if (options.dampening != 0.0f && options.momentum == 0.0f) throw ConfigError("sgd: dampening needs momentum > 0");
}

Tensor Sgd::momentum(Arena& arena, const Stream& stream) const {
  return has_momentum() ? arena.state(stream, 0) : Tensor();
}
Tensor Sgd::gradient(Arena& arena, const Stream& stream) const {
  return keeps_gradient() ? arena.state(stream, has_momentum() ? 1 : 0) : Tensor();
}
ForecastSource Sgd::source(Arena& arena, const Stream& stream, Lookahead how) const {
  const Tensor last = gradient(arena, stream);
  if (!has_momentum()) return {.direction = {.kind = Direction::kMomentum}, .m = last};
  const Tensor m = momentum(arena, stream);
  if (how != Lookahead::kReleased) return {.direction = {.kind = Direction::kMomentum}, .m = m};
  return {
      .direction = {.kind = Direction::kNextMomentum, .momentum = options_.momentum, .rest = 1.0f - options_.dampening},
      .m = m,
      .v = last};
}

std::vector<Weights> Sgd::step(Arena& arena, const Stream& stream, const Update& update) {
  std::vector<ForecastSource> sources;
  for (const Forecast& f : update.forecasts) sources.push_back(source(arena, stream, f.how));
  slots_.begin(arena, stream, update, sources, {});
  kernels::Sgd call{.w = arena.values().ref(),
                    .g = arena.grads().cref(),
                    .buffer = momentum(arena, stream).ref(),
                    .view = {},
                    .segments = slots_.segments(),
                    .scalars = slots_.scalars(),
                    .finite = update.finite.cref(),
                    .momentum = options_.momentum,
                    .nesterov = options_.nesterov,
                    .rest = update.step == 0 ? 1.0f : 1.0f - options_.dampening,
                    .next = update.next.ref(),
                    .last = gradient(arena, stream).ref()};
  UpdateSlots::fill(call.forecasts, update, sources);
  launch(call, stream);
  return slots_.end(arena, update, sources);
}

Weights Sgd::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                      const Forecast& forecast) {
  const ForecastSource none{.direction = {.kind = Direction::kNone}};
  return slots_.forecast(arena, stream, groups, forecast, updates == 0 ? none : source(arena, stream, forecast.how),
                         {});
}

std::vector<std::string> Sgd::state_names() const {
  std::vector<std::string> names;
  if (has_momentum()) names.push_back("sgd.momentum");
  if (keeps_gradient()) names.push_back("sgd.gradient");
  return names;
}

}  // namespace sluice
