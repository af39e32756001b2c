// What the updates of whole arenas share on the device: their weights' arrays, and what a skipped update leaves behind.
#pragma once

#include "kernels/common/forecast.h"
#include "kernels/common/segments.cuh"

namespace sluice {

struct UpdateArrays {
  const float *w, *g;
  float* next;  // w for an update in place
  bf16* view;   // null: none
  float* forecasts[kMaxForecasts];
  int64_t foretold;  // elements
};

/// Host side.
template <class Update>
UpdateArrays update_arrays(const Update& u) {
  return {u.w.template as<float>(),
          u.g.template as<float>(),
          (u.next.defined() ? u.next : u.w).template as<float>(),
          u.view.template as<bf16>(),
          {u.forecasts[0].to.template as<float>(), u.forecasts[1].to.template as<float>()},
          count_foretold(u.forecasts)};
}
inline bool aligned(const UpdateArrays& a) {
  return aligned_for(4, a.w, a.g, a.next, a.view, a.forecasts[0], a.forecasts[1]);
}

__device__ inline bool skipped(const ConstRef& finite) {
  const auto* flag = static_cast<const int32_t*>(finite.data);
  return flag != nullptr && *flag == 0;
}
/// The old weights where new ones and forecasts were asked for; everything else stays as it was.
template <int kForecasts>
__device__ inline void skip_update(const UpdateArrays& a, const SegmentRow* table, int64_t rows, int64_t n,
                                   bool packed) {
  if (kForecasts == 0 && a.next == a.w) return;
  for_segments(table, rows, n, packed, [&]<int N>(int64_t i, int64_t) {
    const Pack<float, N> w = load<N>(a.w + i);
    if (a.next != a.w) store(a.next + i, w);
    if (i + N > a.foretold) return;
    for (int f = 0; f < kForecasts; ++f) store(a.forecasts[f] + i, w);
  });
}

/// The new weights, and their bf16 view where there is one.
template <int N>
__device__ inline void store_weights(const UpdateArrays& a, int64_t i, const Pack<float, N>& w) {
  store(a.next + i, w);
  if (a.view == nullptr) return;
  Pack<bf16, N> view;
  for (int j = 0; j < N; ++j) view.v[j] = bf16(w.v[j]);
  store(a.view + i, view);
}

}  // namespace sluice
