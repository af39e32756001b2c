// CPU half of the learning indicator: a row at a time, summed in pieces.
#include "kernels/learning_indicator.h"

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kPiece = 1024;  // elements whose sums are float

/// of(i) gives both activations of element i of a row.
template <class Of>
float indicator(int64_t count, Of&& of) {
  double top = 0.0, bottom = 0.0;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    float above = 0.0f, below = 0.0f;
#pragma omp simd reduction(+ : above, below)
    for (int64_t i = begin; i < std::min(count, begin + kPiece); ++i) {
      const Activations v = of(i);
      above += v.a * (2.0f * v.h - v.a);
      below += v.h * v.h;
    }
    top += double(above);
    bottom += double(below);
  }
  return float(top / (bottom + 1e-6));
}

}  // namespace

template <>
void LearningIndicator::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = y.dim(0), count = rows > 0 ? x.numel() / rows : 0, channels = x.shape.cols();
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, rows, [&](int64_t r) {
      const T* in = x.as<T>() + r * count;
      float& out = y.as<float>()[r];
      if (residual.defined()) {
        const T* a = residual.as<T>() + r * count;
        out = indicator(count, [=](int64_t i) { return Activations{float(in[i]), float(a[i])}; });
      } else if (vector.defined()) {
        const float* a = vector.as<float>();
        out = indicator(count, [=](int64_t i) {
          const float v = a[i % channels];
          return Activations{float(in[i]) + v, v};
        });
      } else {
        out = indicator(count, [=, e = epsilon, z = of_zero](int64_t i) { return with_sign(float(in[i]), e, z); });
      }
    });
  });
}

}  // namespace sluice::kernels
