// CPU half of Sgd: one pass over all arrays, fixed blocks on the team.
#include "kernels/sgd.h"

#include "kernels/common/skipped_update.h"

namespace sluice::kernels {
namespace {

template <bool kMomentum, bool kLast, bool kView, int kForecasts>
void run(const Sgd& call, const CpuContext& c) {
  const auto& s = *call.scalars.as<StepScalars>();
  const float* w = call.w.as<float>();
  const float* g = call.g.as<float>();
  float* next = (call.next.defined() ? call.next : call.w).as<float>();
  float* buffer = call.buffer.as<float>();
  float* last = call.last.as<float>();
  bf16* view = call.view.as<bf16>();
  float *first = call.forecasts[0].to.as<float>(), *second = call.forecasts[1].to.as<float>();
  const int64_t foretold = count_foretold(call.forecasts);
  parallel_segments(c, call.segments, call.w.numel(), [=, &call, &s](int64_t begin, int64_t end, int64_t group) {
    const SgdConstants k = detail::sgd_constants(call, s, group);
    const ForecastConstants f0 = foretell::constants(call.forecasts[0].direction, s, 0, group);
    const ForecastConstants f1 = foretell::constants(call.forecasts[1].direction, s, 1, group);
    const auto update = [=]<int kCount>(int64_t from, int64_t to) {
#pragma omp simd
      for (int64_t i = from; i < to; ++i) {
        float d = g[i], b = kMomentum ? buffer[i] : 0.0f;
        const float updated = detail::sgd_update<kMomentum>(w[i], d, b, k);
        next[i] = updated;
        if constexpr (kMomentum) buffer[i] = b;
        if constexpr (kLast) last[i] = d;
        if constexpr (kView) view[i] = bf16(updated);
        if constexpr (kCount > 0) first[i] = detail::sgd_forecast<kMomentum>(updated, d, b, f0);
        if constexpr (kCount > 1) second[i] = detail::sgd_forecast<kMomentum>(updated, d, b, f1);
      }
    };
    const int64_t split = std::clamp(foretold, begin, end);
    if constexpr (kForecasts > 0) update.template operator()<kForecasts>(begin, split);
    update.template operator()<0>(split, end);
  });
}

}  // namespace

template <>
void Sgd::cpu<kIsa>(CpuContext& c) const {
  if (finite.defined() && *finite.as<int32_t>() == 0) return skip_update(*this, c);
  visit_count(count_forecasts(forecasts), [&]<int kForecasts>() {
    visit_flags(
        [&]<bool... known>() { run<known..., kForecasts>(*this, c); }, buffer.defined(), last.defined(),
        view.defined());
  });
}

}  // namespace sluice::kernels
