// CUDA half of Forecast: one launch for the arena, each element read and written once.
#include "kernels/common/segments.cuh"
#include "kernels/forecast.h"

namespace sluice::kernels {

struct ForecastArrays {
  const float *w, *m, *v;
  float* to;
  const StepScalars* scalars;
};

template <Direction kBy>
__global__ void __launch_bounds__(kThreads, 4)
    forecast_kernel(DirectionRule direction, ForecastArrays a, const SegmentRow* table, int64_t rows, int64_t n,
                    bool packed) {
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const ForecastConstants k = foretell::constants(direction, *a.scalars, 0, group);
    Pack<float, N> w = load<N>(a.w + i), m{}, v{};
    if constexpr (kBy != Direction::kNone) m = load<N>(a.m + i);
    if constexpr (kBy == Direction::kNextMomentum || kBy == Direction::kAdaptive) v = load<N>(a.v + i);
    for (int j = 0; j < N; ++j) w.v[j] = foretell::weight<kBy>(w.v[j], m.v[j], v.v[j], k);
    store(a.to + i, w);
  });
}

void Forecast::cuda(CudaContext& c) const {
  const int64_t n = to.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const ForecastArrays a{w.as<float>(), m.as<float>(), v.as<float>(), to.as<float>(), scalars.as<StepScalars>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  visit_direction(direction.kind, [&]<Direction kBy>() {
    launch_kernel(c, kName, forecast_kernel<kBy>, grid.blocks, grid.threads, 0, direction, a, segments.as<SegmentRow>(),
                  rows, n, aligned_for(4, a.w, a.m, a.v, a.to));
  });
}

}  // namespace sluice::kernels
