// Lays the arena's segments out for the kernels, checks that every group has settings, and computes what forecasts
// multiply with.
#include "optim/update_slots.h"

#include <algorithm>

#include "engine/launch.h"
#include "kernels/forecast.h"
#include "kernels/step_scalars.h"

namespace sluice {
namespace {

void expect_forecast(const Arena& arena, const Forecast& forecast) {
  if (forecast.ahead < 0)
    throw Error(str("optimizer: a forecast ", forecast.ahead, " updates ahead, expected at least 0"));
  if (!forecast.to.defined()) throw Error("optimizer: a forecast that goes nowhere, expected an array for it");
  const int64_t size = forecast.to.numel(), all = arena.values().numel();
  if (size != all && size != arena.dense_size())
    throw ShapeError(str("optimizer: a forecast of ", size, " elements, expected ", all, ", or ", arena.dense_size(),
                         " without the tables"));
}
/// What is foretold when the update's own pass is over comes from what the optimiser keeps.
void expect_kept(const ForecastSource& source) {
  const DirectionRule& d = source.direction;
  if ((d.takes_m() && !source.m.defined()) || (d.takes_v() && !source.v.defined()))
    throw Error("optimizer: a forecast after the update needs the last gradient, expected the option `remember`");
}

/// Where rows of tables are foretold as they are read, a slot stays as it was for as long as anybody may read it.
Tensor new_slot(const Stream& stream) {
  return Tensor::empty(stream, kStepScalarsShape, DType::kU8, MemoryTag::kOptimizer);
}
/// Whether they are.
bool rows_later(const Arena& arena, const Forecast& forecast) { return forecast.to.numel() != arena.values().numel(); }
Weights foretold(const Arena& arena, const Forecast& forecast, const ForecastSource& source, const Tensor& scalars,
                 int place) {
  if (!rows_later(arena, forecast)) return arena.weights_of(forecast.to);
  const RowForecast rows{.direction = source.direction,
                         .w = arena.values(),
                         .m = source.m,
                         .v = source.v,
                         .scalars = scalars,
                         .place = place,
                         .arena = &arena,
                         .version = arena.weights().version};
  return arena.weights_of(forecast.to, std::make_shared<const RowForecast>(rows));
}

}  // namespace

void UpdateSlots::serve(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups) {
  if (!segments_.defined()) {
    std::vector<int64_t> rows;
    for (const Segment& s : arena.segments()) {
      rows.insert(rows.end(), {s.offset, s.count, int64_t(s.group)});
      groups_ = std::max(groups_, s.group + 1);
    }
    const auto count = int64_t(arena.segments().size());
    segments_ = Tensor::from<int64_t>(stream, rows, {count, 3}, MemoryTag::kOptimizer);
    scalars_ = new_slot(stream);
    grads_ = arena.grads().storage();
  }
  if (arena.grads().storage() != grads_) throw Error("optimizer: one optimiser serves one arena, got a second one");
  if (groups_ > kMaxGroups || groups_ > int(groups.size()))
    throw ConfigError(str("optimizer: the arena has ", groups_,
                          " parameter groups, expected settings for each and at most ", kMaxGroups, ", got ",
                          groups.size()));
}

ForecastScalars UpdateSlots::factors(const std::vector<GroupSettings>& groups, const Forecast& forecast) const {
  ForecastScalars f;
  for (size_t g = 0; g < size_t(groups_); ++g) {
    const double lr = double(groups[g].lr);
    const bool shrinks = decoupled_ && forecast.how == Lookahead::kDecayAware;
    const double shrink = shrinks ? 1.0 - lr * double(groups[g].weight_decay) : 1.0;
    double keep = 1.0, span = 0.0;
    for (int64_t k = 0; k < forecast.ahead; ++k) {
      span += keep;
      keep *= shrink;
    }
    f.keep[g] = float(keep);
    f.reach[g] = float(lr * span);
  }
  return f;
}

void UpdateSlots::begin(Arena& arena, const Stream& stream, const Update& update,
                        const std::vector<ForecastSource>& sources, StepScalars scalars) {
  serve(arena, stream, update.groups);
  if (update.forecasts.size() > size_t(kMaxForecasts))
    throw Error(
        str("optimizer: an update with ", update.forecasts.size(), " forecasts, expected at most ", kMaxForecasts));
  for (size_t g = 0; g < size_t(groups_); ++g) {
    scalars.lr[g] = update.groups[g].lr;
    scalars.weight_decay[g] = update.groups[g].weight_decay;
  }
  bool later = false;
  for (size_t k = 0; k < update.forecasts.size(); ++k) {
    expect_forecast(arena, update.forecasts[k]);
    if (rows_later(arena, update.forecasts[k])) {
      expect_kept(sources[k]);
      later = true;
    }
    scalars.forecasts[k] = factors(update.groups, update.forecasts[k]);
  }
  if (later) scalars_ = new_slot(stream);
  launch(kernels::SetStepScalars{.slot = scalars_.ref(), .values = scalars, .finite = update.finite.cref()}, stream);
  arena.finish_grads(stream);
}

void UpdateSlots::fill(ForecastTo (&to)[kMaxForecasts], const Update& update,
                       const std::vector<ForecastSource>& sources) {
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    to[k] = {.to = update.forecasts[k].to.ref(), .direction = sources[k].direction};
}

std::vector<Weights> UpdateSlots::end(Arena& arena, const Update& update,
                                      const std::vector<ForecastSource>& sources) const {
  if (update.next.defined())
    arena.replace_values(update.next);
  else
    arena.bump_version();
  arena.begin_step();
  std::vector<Weights> all;
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    all.push_back(foretold(arena, update.forecasts[k], sources[k], scalars_, int(k)));
  return all;
}

Weights UpdateSlots::forecast(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups,
                              const Forecast& forecast, const ForecastSource& source, StepScalars scalars) {
  serve(arena, stream, groups);
  expect_forecast(arena, forecast);
  expect_kept(source);
  scalars.forecasts[0] = factors(groups, forecast);
  const Tensor slot = new_slot(stream);
  launch(kernels::SetStepScalars{.slot = slot.ref(), .values = scalars}, stream);
  launch(kernels::Forecast{.w = arena.values().cref(),
                           .m = source.m.cref(),
                           .v = source.v.cref(),
                           .to = forecast.to.ref(),
                           .segments = segments(),
                           .scalars = slot.cref(),
                           .direction = source.direction},
         stream);
  return foretold(arena, forecast, source, slot, 0);
}

}  // namespace sluice
