// CPU half of Forecast: one pass over all arrays, fixed blocks on the team.
#include "kernels/forecast.h"

#include "kernels/common/parallel_segments.h"

namespace sluice::kernels {

template <>
void Forecast::cpu<kIsa>(CpuContext& c) const {
  const auto& s = *scalars.as<StepScalars>();
  visit_direction(direction.kind, [&]<Direction kBy>() {
    constexpr bool kM = kBy != Direction::kNone, kV = kM && kBy != Direction::kMomentum;
    parallel_segments(c, segments, to.numel(),
                      [&, in = w.as<float>(), first = m.as<float>(), second = v.as<float>(), out = to.as<float>()](
                          int64_t begin, int64_t end, int64_t group) {
                        const ForecastConstants k = foretell::constants(direction, s, 0, group);
#pragma omp simd
                        for (int64_t i = begin; i < end; ++i)
                          out[i] = foretell::weight<kBy>(in[i], kM ? first[i] : 0.0f, kV ? second[i] : 0.0f, k);
                      });
  });
}

}  // namespace sluice::kernels
