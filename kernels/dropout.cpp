// CPU half of dropout: sixteen Philox counters at a time give the draws of 64 neighbours.
#include "kernels/dropout.h"

#include "kernels/common/draws.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kGroup = 64;           // elements drawn together
constexpr int64_t kGrain = 64 * kGroup;  // elements of a sample that one task takes

}  // namespace

template <>
void Dropout::cpu<kIsa>(CpuContext& c) const {
  if (x.numel() == 0) return;
  const int64_t samples = x.dim(0), size = x.numel() / samples, pieces = (size + kGrain - 1) / kGrain;
  const float kept = 1.0f / (1.0f - p);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, samples * pieces, [&](int64_t task) {
      const int64_t sample = task / pieces, begin = task % pieces * kGrain, end = std::min(size, begin + kGrain);
      const T* in = x.as<T>() + sample * size;
      const T* add = residual.defined() ? residual.as<T>() + sample * size : nullptr;
      T* out = y.as<T>() + sample * size;
      for (int64_t first = begin; first < end; first += kGroup) {
        float u[kGroup];
        draw_sixteen(key, dropout_draw(first).low, uint64_t(sample_base + sample), u);
        const int64_t count = std::min(kGroup, end - first);
        if (add == nullptr) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) store(out[first + i], u[i] >= p ? float(in[first + i]) * kept : 0.0f);
          continue;
        }
#pragma omp simd
        for (int64_t i = 0; i < count; ++i)
          store(out[first + i], float(add[first + i]) + (u[i] >= p ? float(in[first + i]) * kept : 0.0f));
      }
    });
  });
}

}  // namespace sluice::kernels
