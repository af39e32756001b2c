// CUDA half of Sgd: one launch for the arena, each element read and written once. In place.
#include "kernels/common/segments.cuh"
#include "kernels/sgd.h"

namespace sluice::kernels {

struct SgdArrays {
  float* w;
  const float* g;
  float* buffer;  // null: no momentum
  bf16* view;     // null: none
};

template <bool kMomentum>
__global__ void __launch_bounds__(kThreads)
    sgd_kernel(Sgd call, SgdArrays a, const SegmentRow* table, int64_t rows, int64_t n, bool packed) {
  const auto* finite = static_cast<const int32_t*>(call.finite.data);
  if (finite != nullptr && *finite == 0) return;
  const auto& scalars = *static_cast<const StepScalars*>(call.scalars.data);
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const SgdConstants k = detail::sgd_constants(call, scalars, group);
    Pack<float, N> w = load<N>(a.w + i), b{};
    if constexpr (kMomentum) b = load<N>(a.buffer + i);
    const Pack<float, N> g = load<N>(a.g + i);
    Pack<bf16, N> view;
    for (int j = 0; j < N; ++j) {
      w.v[j] = detail::sgd_update<kMomentum>(w.v[j], g.v[j], b.v[j], k);
      view.v[j] = bf16(w.v[j]);
    }
    store(a.w + i, w);
    if constexpr (kMomentum) store(a.buffer + i, b);
    if (a.view != nullptr) store(a.view + i, view);
  });
}

void Sgd::cuda(CudaContext& c) const {
  const int64_t n = w.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const SgdArrays a{w.as<float>(), g.as<float>(), buffer.as<float>(), view.as<bf16>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  launch_kernel(c, kName, buffer.defined() ? sgd_kernel<true> : sgd_kernel<false>, grid.blocks, grid.threads, 0, *this,
                a, segments.as<SegmentRow>(), rows, n, aligned_for(4, a.w, a.g, a.buffer, a.view));
}

}  // namespace sluice::kernels
