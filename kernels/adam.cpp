// CPU half of Adam and AdamW: one pass over all arrays, fixed blocks on the team.
#include "kernels/adam.h"

#include "kernels/common/parallel_segments.h"

namespace sluice::kernels {
namespace {

template <bool kDecoupled, bool kView>
void run(const Adam& call, const CpuContext& c) {
  const auto& s = *call.scalars.as<StepScalars>();
  float* w = call.w.as<float>();
  const float* g = call.g.as<float>();
  float* m = call.m.as<float>();
  float* v = call.v.as<float>();
  bf16* view = call.view.as<bf16>();
  parallel_segments(c, call.segments, call.w.numel(), [=, &call, &s](int64_t begin, int64_t end, int64_t group) {
    const AdamConstants k = detail::adam_constants(call, s, group);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      float mi = m[i], vi = v[i];
      const float next = detail::adam_update<kDecoupled>(w[i], g[i], mi, vi, k);
      w[i] = next;
      m[i] = mi;
      v[i] = vi;
      if constexpr (kView) view[i] = bf16(next);
    }
  });
}

}  // namespace

template <>
void Adam::cpu<kIsa>(CpuContext& c) const {
  if (finite.defined() && *finite.as<int32_t>() == 0) return;
  if (decoupled) return view.defined() ? run<true, true>(*this, c) : run<true, false>(*this, c);
  return view.defined() ? run<false, true>(*this, c) : run<false, false>(*this, c);
}

}  // namespace sluice::kernels
