// CUDA half of Rmsprop: one launch for the arena, each element read and written once.
#include "kernels/common/update.cuh"
#include "kernels/rmsprop.h"

namespace sluice::kernels {

struct RmspropArrays {
  UpdateArrays common;
  float* v;
  float* last;  // null: not kept
};

template <int kForecasts>
__global__ void __launch_bounds__(kThreads, 4)
    rmsprop_kernel(Rmsprop call, RmspropArrays a, const SegmentRow* table, int64_t rows, int64_t n, bool packed) {
  if (skipped(call.finite)) return skip_update<kForecasts>(a.common, table, rows, n, packed);
  const auto& scalars = *static_cast<const StepScalars*>(call.scalars.data);
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const RmspropConstants k = detail::rmsprop_constants(call, scalars, group);
    Pack<float, N> w = load<N>(a.common.w + i), d = load<N>(a.common.g + i), v = load<N>(a.v + i);
    for (int j = 0; j < N; ++j) w.v[j] = detail::rmsprop_update(w.v[j], d.v[j], v.v[j], k);
    store_weights(a.common, i, w);
    store(a.v + i, v);
    if (a.last != nullptr) store(a.last + i, d);
    if constexpr (kForecasts > 0) {
      if (i + N > a.common.foretold) return;
      for (int f = 0; f < kForecasts; ++f) {
        const ForecastConstants ahead = foretell::constants(call.forecasts[f].direction, scalars, f, group);
        Pack<float, N> later;
        for (int j = 0; j < N; ++j) later.v[j] = foretell::adaptively(w.v[j], d.v[j], v.v[j], ahead);
        store(a.common.forecasts[f] + i, later);
      }
    }
  });
}

void Rmsprop::cuda(CudaContext& c) const {
  const int64_t n = w.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const RmspropArrays a{update_arrays(*this), v.as<float>(), last.as<float>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  visit_count(count_forecasts(forecasts), [&]<int kForecasts>() {
    launch_kernel(c, kName, rmsprop_kernel<kForecasts>, grid.blocks, grid.threads, 0, *this, a,
                  segments.as<SegmentRow>(), rows, n, aligned(a.common) && aligned_for(4, a.v, a.last));
  });
}

}  // namespace sluice::kernels
