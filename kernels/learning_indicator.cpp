// CPU half of the learning indicator: a row at a time, in stretches that stay near the core.
#include "kernels/learning_indicator.h"

#include <algorithm>

#include "kernels/common/bit_loops.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

/// put(first, some, h, a) writes both activations of `some` elements of a row: g++ vectorises neither a sum over a
/// struct nor one over selects.
template <class Put>
float indicator(int64_t count, Put&& put) {
  double top = 0.0, bottom = 0.0;
  for (int64_t first = 0; first < count; first += kStretch) {
    const int64_t some = std::min(kStretch, count - first);
    float h[kStretch], a[kStretch], above = 0.0f, below = 0.0f;
    put(first, some, h, a);
#pragma omp simd reduction(+ : above, below)
    for (int64_t k = 0; k < some; ++k) {
      above += a[k] * (2.0f * h[k] - a[k]);
      below += h[k] * h[k];
    }
    top += double(above);
    bottom += double(below);
  }
  return float(top / (bottom + 1e-6));
}

template <class T>
void put_residual(const T* x, const T* residual, int64_t some, float* h, float* a) {
#pragma omp simd
  for (int64_t k = 0; k < some; ++k) {
    h[k] = float(x[k]);
    a[k] = float(residual[k]);
  }
}

/// The vector starts again after `channels` elements; `at` is where in it the first one is.
template <class T>
void put_vector(const T* x, const ConstRef& vector, int64_t at, int64_t some, float* h, float* a) {
  const int64_t channels = vector.dim(0);
  for (int64_t k = 0; k < some; at = 0) {
    const int64_t run = std::min(some - k, channels - at);
    const float* v = vector.as<float>() + at;
#pragma omp simd
    for (int64_t j = 0; j < run; ++j) {
      a[k + j] = v[j];
      h[k + j] = float(x[k + j]) + v[j];
    }
    k += run;
  }
}

}  // namespace

template <>
void LearningIndicator::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = y.dim(0), count = rows > 0 ? x.numel() / rows : 0;
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, rows, [&](int64_t r) {
      const T* in = x.as<T>() + r * count;
      y.as<float>()[r] = indicator(count, [&](int64_t first, int64_t some, float* h, float* a) {
        if (residual.defined()) return put_residual(in + first, residual.as<T>() + r * count + first, some, h, a);
        if (vector.defined()) return put_vector(in + first, vector, first % vector.dim(0), some, h, a);
        const float e = epsilon, zero = of_zero;
#pragma omp simd
        for (int64_t k = 0; k < some; ++k) {
          const Activations v = with_sign(float(in[first + k]), e, zero);
          h[k] = v.h;
          a[k] = v.a;
        }
      });
    });
  });
}

}  // namespace sluice::kernels
