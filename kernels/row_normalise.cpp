// CPU halves of the row norm: a row per task, read twice while it is in the cache.
#include "kernels/row_normalise.h"

#include <cmath>

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void RowNormalise::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = x.dim(1);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, x.dim(0), [&](int64_t r) {
      const T* in = x.as<T>() + r * cols;
      T* out = y.as<T>() + r * cols;
      const float norm = std::sqrt(lane_sum(0, cols, [=](int64_t j) { return float(in[j]) * float(in[j]); }));
      const float divisor = norm < eps ? eps : norm;  // NaN stays
      norms.as<float>()[r] = norm;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) store(out[j], float(in[j]) / divisor);
    });
  });
}

template <>
void RowNormaliseGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = dy.dim(1);
  visit_float(dy.dtype, [&]<class T>() {
    parallel_for(c, dy.dim(0), [&](int64_t r) {
      const T *unit = y.as<T>() + r * cols, *in = dy.as<T>() + r * cols;
      T* out = dx.as<T>() + r * cols;
      const float norm = norms.as<float>()[r], divisor = norm < eps ? eps : norm;
      const float along =
          norm < eps ? 0.0f : lane_sum(0, cols, [=](int64_t j) { return float(unit[j]) * float(in[j]); });
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) store(out[j], (float(in[j]) - float(unit[j]) * along) / divisor);
    });
  });
}

}  // namespace sluice::kernels
