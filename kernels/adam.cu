// CUDA half of Adam and AdamW: one launch for the arena, each element read and written once. In place.
#include "kernels/adam.h"
#include "kernels/common/segments.cuh"

namespace sluice::kernels {

struct AdamArrays {
  float* w;
  const float* g;
  float *m, *v;
  bf16* view;  // null: none
};

template <bool kDecoupled>
__global__ void __launch_bounds__(kThreads, 4)
    adam_kernel(Adam call, AdamArrays a, const SegmentRow* table, int64_t rows, int64_t n, bool packed) {
  const auto* finite = static_cast<const int32_t*>(call.finite.data);
  if (finite != nullptr && *finite == 0) return;
  const auto& scalars = *static_cast<const StepScalars*>(call.scalars.data);
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t group) {
    const AdamConstants k = detail::adam_constants(call, scalars, group);
    Pack<float, N> w = load<N>(a.w + i), m = load<N>(a.m + i), v = load<N>(a.v + i);
    const Pack<float, N> g = load<N>(a.g + i);
    Pack<bf16, N> view;
    for (int j = 0; j < N; ++j) {
      w.v[j] = detail::adam_update<kDecoupled>(w.v[j], g.v[j], m.v[j], v.v[j], k);
      view.v[j] = bf16(w.v[j]);
    }
    store(a.w + i, w);
    store(a.m + i, m);
    store(a.v + i, v);
    if (a.view != nullptr) store(a.view + i, view);
  });
}

void Adam::cuda(CudaContext& c) const {
  const int64_t n = w.numel(), rows = segments.dim(0);
  if (n == 0 || rows == 0) return;
  const AdamArrays a{w.as<float>(), g.as<float>(), m.as<float>(), v.as<float>(), view.as<bf16>()};
  const Grid grid = grid_for(c, ceil_div(n, 4));
  launch_kernel(c, kName, decoupled ? adam_kernel<true> : adam_kernel<false>, grid.blocks, grid.threads, 0, *this, a,
                segments.as<SegmentRow>(), rows, n, aligned_for(4, a.w, a.g, a.m, a.v, a.view));
}

}  // namespace sluice::kernels
