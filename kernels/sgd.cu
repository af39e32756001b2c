// CUDA half of Sgd: one launch for the arena, each element read and written once.
#include "kernels/common/update.cuh"
#include "kernels/sgd.h"

namespace sluice::kernels {

struct SgdArrays {
  UpdateArrays common;
  float* buffer;  // null: no momentum
  float* last;    // null: not kept
};

template <bool kMomentum, int kForecasts>
__global__ void __launch_bounds__(kThreads)
    sgd_kernel(Sgd call, SgdArrays a, const SegmentRow* table, int64_t rows, int64_t n, bool packed) {
  if (skipped(call.finite)) return skip_update<kForecasts>(a.common, table, rows, n, packed);
  const auto& scalars = *static_cast<const StepScalars*>(call.scalars.data);
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const SgdConstants k = detail::sgd_constants(call, scalars, group);
    Pack<float, N> w = load<N>(a.common.w + i), b{};
    if constexpr (kMomentum) b = load<N>(a.buffer + i);
    Pack<float, N> d = load<N>(a.common.g + i);
    for (int j = 0; j < N; ++j) w.v[j] = detail::sgd_update<kMomentum>(w.v[j], d.v[j], b.v[j], k);
    store_weights(a.common, i, w);
    if constexpr (kMomentum) store(a.buffer + i, b);
    if (a.last != nullptr) store(a.last + i, d);
    if constexpr (kForecasts > 0) {
      if (i + N > a.common.foretold) return;
      for (int f = 0; f < kForecasts; ++f) {
        const ForecastConstants ahead = foretell::constants(call.forecasts[f].direction, scalars, f, group);
        Pack<float, N> later;
        for (int j = 0; j < N; ++j) later.v[j] = detail::sgd_forecast<kMomentum>(w.v[j], d.v[j], b.v[j], ahead);
        store(a.common.forecasts[f] + i, later);
      }
    }
  });
}

void Sgd::cuda(CudaContext& c) const {
  const int64_t n = w.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const SgdArrays a{update_arrays(*this), buffer.as<float>(), last.as<float>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  visit_count(count_forecasts(forecasts), [&]<int kForecasts>() {
    launch_kernel(c, kName, buffer.defined() ? sgd_kernel<true, kForecasts> : sgd_kernel<false, kForecasts>,
                  grid.blocks, grid.threads, 0, *this, a, segments.as<SegmentRow>(), rows, n,
                  aligned(a.common) && aligned_for(4, a.buffer, a.last));
  });
}

}  // namespace sluice::kernels
