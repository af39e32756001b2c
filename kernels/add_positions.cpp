// CPU halves of positions. Forward: a task per token. Backward: columns of [B, T D] in strips, sums over samples in
// blocks of fixed size.
#include "kernels/add_positions.h"

#include "kernels/common/parallel.h"
#include "kernels/common/sum_rows.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void AddPositions::cpu<kIsa>(CpuContext& c) const {
  const int64_t length = y.dim(1), cols = y.dim(2), extra = token.defined() ? 1 : 0;
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, y.dim(0) * length, [&](int64_t row) {
      const int64_t sample = row / length, t = row - sample * length;
      const float* add = positions.as<float>() + t * cols;
      T* out = y.as<T>() + row * cols;
      if (t < extra) {
        const float* first = token.as<float>();
#pragma omp simd
        for (int64_t j = 0; j < cols; ++j) store(out[j], first[j] + add[j]);
        return;
      }
      const T* in = x.as<T>() + (row - (sample + 1) * extra) * cols;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) store(out[j], float(in[j]) + add[j]);
    });
  });
}

template <>
void AddPositionsGrad::cpu<kIsa>(CpuContext& c) const {
  constexpr int64_t kStrip = 64;
  const int64_t cols = dpositions.numel(), token_cols = dtoken.defined() ? dtoken.numel() : 0;
  const auto put = [](float* to, float v, bool add) { *to = add ? *to + v : v; };
  visit_float(dy.dtype, [&]<class T>() {
    const Matrix<T> m{dy.as<T>(), dy.dim(0), cols};
    parallel_blocks(c, cols, kStrip, [&](int64_t begin, int64_t end) {
      float sum[kStrip];
      sum_rows<kStrip>(
          m, begin, end - begin, [](int64_t) { return 1.0f; }, sum);
      for (int64_t j = begin; j < end; ++j) {
        put(dpositions.as<float>() + j, sum[j - begin], accumulate_positions);
        if (j < token_cols) put(dtoken.as<float>() + j, sum[j - begin], accumulate_token);
      }
    });
  });
}

}  // namespace sluice::kernels
