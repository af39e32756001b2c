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
DirectionRule Sgd::direction(Lookahead how) const {
  const bool next = has_momentum() && how == Lookahead::kReleased;
  return {.kind = next ? Direction::kNextMomentum : Direction::kMomentum,
          .momentum = options_.momentum,
          .rest = 1.0f - options_.dampening};
}

void Sgd::step(Arena& arena, const Stream& stream, const Update& update) {
  slots_.begin(arena, stream, update, {});
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
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    call.forecasts[k] = {.to = update.forecasts[k].to.ref(), .direction = direction(update.forecasts[k].how)};
  launch(call, stream);
  UpdateSlots::end(arena, update);
}

void Sgd::forecast(Arena& arena, const Stream& stream, int64_t updates, const std::vector<GroupSettings>& groups,
                   const Forecast& forecast) {
  ForecastSource source{.direction = direction(forecast.how)};
  if (updates == 0) source.direction.kind = Direction::kNone;
  const bool next = source.direction.kind == Direction::kNextMomentum;
  if (updates > 0 && (next || !has_momentum()) && !keeps_gradient())
    throw Error(str("sgd: a forecast ", next ? "as the released code's" : "without momentum",
                    " needs the last gradient, expected SgdOptions::remember"));
  source.m = has_momentum() ? momentum(arena, stream) : gradient(arena, stream);
  if (next) source.v = gradient(arena, stream);
  slots_.forecast(arena, stream, groups, forecast, std::move(source));
}

std::vector<std::string> Sgd::state_names() const {
  std::vector<std::string> names;
  if (has_momentum()) names.push_back("sgd.momentum");
  if (keeps_gradient()) names.push_back("sgd.gradient");
  return names;
}

}  // namespace sluice
