// CPU half of Adam and AdamW: one pass over all arrays, fixed blocks on the team.
#include "kernels/adam.h"

#include "kernels/common/skipped_update.h"

namespace sluice::kernels {
namespace {

template <bool kDecoupled, bool kView, int kForecasts>
void run(const Adam& call, const CpuContext& c) {
  const auto& s = *call.scalars.as<StepScalars>();
  const float* w = call.w.as<float>();
  const float* g = call.g.as<float>();
  float* next = (call.next.defined() ? call.next : call.w).as<float>();
  float* m = call.m.as<float>();
  float* v = call.v.as<float>();
  bf16* view = call.view.as<bf16>();
  float *first = call.forecasts[0].to.as<float>(), *second = call.forecasts[1].to.as<float>();
  const int64_t foretold = count_foretold(call.forecasts);
  parallel_segments(c, call.segments, call.w.numel(), [=, &call, &s](int64_t begin, int64_t end, int64_t group) {
    const AdamConstants k = detail::adam_constants(call, s, group);
    const ForecastConstants f0 = foretell::constants(call.forecasts[0].direction, s, 0, group);
    const ForecastConstants f1 = foretell::constants(call.forecasts[1].direction, s, 1, group);
    const auto update = [=]<int kCount>(int64_t from, int64_t to) {
#pragma omp simd
      for (int64_t i = from; i < to; ++i) {
        float mi = m[i], vi = v[i];
        const float updated = detail::adam_update<kDecoupled>(w[i], g[i], mi, vi, k);
        next[i] = updated;
        m[i] = mi;
        v[i] = vi;
        if constexpr (kView) view[i] = bf16(updated);
        if constexpr (kCount > 0) first[i] = foretell::adaptively(updated, mi, vi, f0);
        if constexpr (kCount > 1) second[i] = foretell::adaptively(updated, mi, vi, f1);
      }
    };
    const int64_t split = std::clamp(foretold, begin, end);
    if constexpr (kForecasts > 0) update.template operator()<kForecasts>(begin, split);
    update.template operator()<0>(split, end);
  });
}

}  // namespace

template <>
void Adam::cpu<kIsa>(CpuContext& c) const {
  if (finite.defined() && *finite.as<int32_t>() == 0) return skip_update(*this, c);
  visit_count(count_forecasts(forecasts), [&]<int kForecasts>() {
    visit_flags(
        [&]<bool... known>() { run<known..., kForecasts>(*this, c); }, decoupled, view.defined());
  });
}

}  // namespace sluice::kernels
