// Lays the arena's segments out for the kernels, checks that every group has settings, and computes what forecasts
// multiply with.
#include "optim/update_slots.h"

#include <algorithm>

#include "engine/launch.h"
#include "kernels/forecast.h"
#include "kernels/step_scalars.h"

namespace sluice {

void UpdateSlots::serve(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups) {
  if (!segments_.defined()) {
    std::vector<int64_t> rows;
    for (const Segment& s : arena.segments()) {
      rows.insert(rows.end(), {s.offset, s.count, int64_t(s.group)});
      groups_ = std::max(groups_, s.group + 1);
    }
    const auto count = int64_t(arena.segments().size());
    segments_ = Tensor::from<int64_t>(stream, rows, {count, 3}, MemoryTag::kOptimizer);
    scalars_ = Tensor::empty(stream, kStepScalarsShape, DType::kU8, MemoryTag::kOptimizer);
    grads_ = arena.grads().storage();
  }
  if (arena.grads().storage() != grads_) throw Error("optimizer: one optimiser serves one arena, got a second one");
  if (groups_ > kMaxGroups || groups_ > int(groups.size()))
    throw ConfigError(str("optimizer: the arena has ", groups_,
                          " parameter groups, expected settings for each and at most ", kMaxGroups, ", got ",
                          groups.size()));
}

ForecastScalars UpdateSlots::factors(const std::vector<GroupSettings>& groups, const Forecast& forecast) const {
  if (!forecast.to.defined()) throw Error("optimizer: a forecast that goes nowhere, expected an array for it");
  if (forecast.ahead < 0)
    throw Error(str("optimizer: a forecast ", forecast.ahead, " updates ahead, expected at least 0"));
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

void UpdateSlots::begin(Arena& arena, const Stream& stream, const Update& update, StepScalars scalars) {
  serve(arena, stream, update.groups);
  if (update.forecasts.size() > size_t(kMaxForecasts))
    throw Error(
        str("optimizer: an update with ", update.forecasts.size(), " forecasts, expected at most ", kMaxForecasts));
  for (size_t g = 0; g < size_t(groups_); ++g) {
    scalars.lr[g] = update.groups[g].lr;
    scalars.weight_decay[g] = update.groups[g].weight_decay;
  }
  for (size_t k = 0; k < update.forecasts.size(); ++k)
    scalars.forecasts[k] = factors(update.groups, update.forecasts[k]);
  launch(kernels::SetStepScalars{.slot = scalars_.ref(), .values = scalars}, stream);
  arena.finish_grads(stream);
}

void UpdateSlots::end(Arena& arena, const Update& update) {
  if (update.next.defined())
    arena.replace_values(update.next);
  else
    arena.bump_version();
  arena.begin_step();
}

void UpdateSlots::forecast(const Arena& arena, const Stream& stream, const std::vector<GroupSettings>& groups,
                           const Forecast& forecast, ForecastSource source) {
  serve(arena, stream, groups);
  source.scalars.forecasts[0] = factors(groups, forecast);
  // Not the slot of the updates: a step that is queued already may be read from it.
  if (!forecast_scalars_.defined())
    forecast_scalars_ = Tensor::empty(stream, kStepScalarsShape, DType::kU8, MemoryTag::kOptimizer);
  launch(kernels::SetStepScalars{.slot = forecast_scalars_.ref(), .values = source.scalars}, stream);
  launch(kernels::Forecast{.w = arena.values().cref(),
                           .m = source.m.cref(),
                           .v = source.v.cref(),
                           .to = forecast.to.ref(),
                           .segments = segments(),
                           .scalars = forecast_scalars_.cref(),
                           .direction = source.direction},
         stream);
}

}  // namespace sluice
