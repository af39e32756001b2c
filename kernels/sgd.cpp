// CPU half of Sgd: one pass over all arrays, fixed blocks on the team.
#include "kernels/sgd.h"

#include "kernels/common/parallel_segments.h"

namespace sluice::kernels {
namespace {

template <bool kMomentum, bool kView>
void run(const Sgd& call, const CpuContext& c) {
  const auto& s = *call.scalars.as<StepScalars>();
  float* w = call.w.as<float>();
  const float* g = call.g.as<float>();
  float* buffer = call.buffer.as<float>();
  bf16* view = call.view.as<bf16>();
  parallel_segments(c, call.segments, call.w.numel(), [=, &call, &s](int64_t begin, int64_t end, int64_t group) {
    const SgdConstants k = detail::sgd_constants(call, s, group);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      float b = kMomentum ? buffer[i] : 0.0f;
      const float next = detail::sgd_update<kMomentum>(w[i], g[i], b, k);
      w[i] = next;
      if constexpr (kMomentum) buffer[i] = b;
      if constexpr (kView) view[i] = bf16(next);
    }
  });
}

}  // namespace

template <>
void Sgd::cpu<kIsa>(CpuContext& c) const {
  if (finite.defined() && *finite.as<int32_t>() == 0) return;
  if (buffer.defined()) return view.defined() ? run<true, true>(*this, c) : run<true, false>(*this, c);
  return view.defined() ? run<false, true>(*this, c) : run<false, false>(*this, c);
}

}  // namespace sluice::kernels
