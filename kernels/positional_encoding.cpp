// CPU half of positional encoding: the table of one sample first, since a sinusoid takes longer than moving a number.
#include "kernels/positional_encoding.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void PositionalEncoding::cpu<kIsa>(CpuContext& c) const {
  const int64_t length = x.dim(1), cols = x.dim(2);
  if (x.numel() == 0) return;
  const float* table = nullptr;
  if (positions) {
    auto* all = static_cast<float*>(c.workspace(size_t(length * cols) * sizeof(float)));
    parallel_for(c, length, [&](int64_t t) {
      for (int64_t j = 0; j < cols; ++j) all[t * cols + j] = sinusoid(t, j, cols);
    });
    table = all;
  }
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, x.dim(0) * length, [&](int64_t row) {
      const T* in = x.as<T>() + row * cols;
      T* out = y.as<T>() + row * cols;
      const float factor = scale;
      if (table == nullptr) {
#pragma omp simd
        for (int64_t j = 0; j < cols; ++j) store(out[j], factor * float(in[j]));
        return;
      }
      const float* add = table + row % length * cols;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) store(out[j], factor * float(in[j]) + add[j]);
    });
  });
}

}  // namespace sluice::kernels
