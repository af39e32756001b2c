// CPU half of dropout: sixteen Philox counters at a time give the draws of 64 neighbours.
#include "kernels/dropout.h"

#include "kernels/common/draws.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kGroup = 64;           // elements drawn together
constexpr int64_t kGrain = 64 * kGroup;  // elements of a row that one task takes

}  // namespace

template <>
void Dropout::cpu<kIsa>(CpuContext& c) const {
  if (x.numel() == 0) return;
  const int64_t size = x.numel() / rows(), pieces = (size + kGrain - 1) / kGrain;
  const float kept = 1.0f / (1.0f - p);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, rows() * pieces, [&](int64_t task) {
      const int64_t row = task / pieces, begin = task % pieces * kGrain, end = std::min(size, begin + kGrain);
      const int64_t step = row / samples(), sample = row % samples();
      const T* in = x.as<T>() + row * size;
      const T* add = residual.defined() ? residual.as<T>() + row * size : nullptr;
      T* out = y.as<T>() + row * size;
      for (int64_t first = begin; first < end; first += kGroup) {
        float u[kGroup];
        draw_sixteen(key, dropout_draw(first, step).low, uint64_t(sample_base + sample), u);
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
