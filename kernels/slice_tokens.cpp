// CPU halves of slicing: a task copies a sample's tokens, which lie side by side.
#include "kernels/slice_tokens.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void SliceTokens::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = x.dim(2), whole = x.dim(1) * cols, part = y.dim(1) * cols;
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, x.dim(0),
                 [&](int64_t b) { std::copy_n(x.as<T>() + b * whole + first * cols, part, y.as<T>() + b * part); });
  });
}

template <>
void SliceTokensGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t cols = dx.dim(2), whole = dx.dim(1) * cols, part = dy.dim(1) * cols, before = first * cols;
  visit_float(dx.dtype, [&]<class T>() {
    parallel_for(c, dx.dim(0), [&](int64_t b) {
      T* out = std::fill_n(dx.as<T>() + b * whole, before, T(0.0f));
      out = std::copy_n(dy.as<T>() + b * part, part, out);
      std::fill_n(out, whole - before - part, T(0.0f));
    });
  });
}

}  // namespace sluice::kernels
