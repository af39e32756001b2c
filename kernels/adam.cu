// CUDA half of Adam and AdamW: one launch for the arena, each element read and written once.
#include "kernels/adam.h"
#include "kernels/common/update.cuh"

namespace sluice::kernels {

struct AdamArrays {
  UpdateArrays common;
  float *m, *v;
};

template <bool kDecoupled, int kForecasts>
__global__ void __launch_bounds__(kThreads, 4)
    adam_kernel(Adam call, AdamArrays a, const SegmentRow* table, int64_t rows, int64_t n, bool packed) {
  if (skipped(call.finite)) return skip_update<kForecasts>(a.common, table, rows, n, packed);
  const auto& scalars = *static_cast<const StepScalars*>(call.scalars.data);
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const AdamConstants k = detail::adam_constants(call, scalars, group);
    Pack<float, N> w = load<N>(a.common.w + i), m = load<N>(a.m + i), v = load<N>(a.v + i);
    const Pack<float, N> g = load<N>(a.common.g + i);
    for (int j = 0; j < N; ++j) w.v[j] = detail::adam_update<kDecoupled>(w.v[j], g.v[j], m.v[j], v.v[j], k);
    store_weights(a.common, i, w);
    store(a.m + i, m);
    store(a.v + i, v);
    if constexpr (kForecasts > 0) {
      if (i + N > a.common.foretold) return;
      for (int f = 0; f < kForecasts; ++f) {
        const ForecastConstants ahead = foretell::constants(call.forecasts[f].direction, scalars, f, group);
        Pack<float, N> later;
        for (int j = 0; j < N; ++j) later.v[j] = foretell::adaptively(w.v[j], m.v[j], v.v[j], ahead);
        store(a.common.forecasts[f] + i, later);
      }
    }
  });
}

void Adam::cuda(CudaContext& c) const {
  const int64_t n = w.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const AdamArrays a{update_arrays(*this), m.as<float>(), v.as<float>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  visit_count(count_forecasts(forecasts), [&]<int kForecasts>() {
    launch_kernel(c, kName, decoupled ? adam_kernel<true, kForecasts> : adam_kernel<false, kForecasts>, grid.blocks,
                  grid.threads, 0, *this, a, segments.as<SegmentRow>(), rows, n,
                  aligned(a.common) && aligned_for(4, a.m, a.v));
  });
}

}  // namespace sluice::kernels
