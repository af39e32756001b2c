// CPU halves of the masked mean: a task per sample, columns in strips whose sums stay near the core.
#include "kernels/masked_mean.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kStrip = 64;

/// 1 / max(1, tokens of sample b).
float share_of(const SequenceRows& s, const uint8_t* mask, int64_t b) {
  int64_t tokens = mask == nullptr ? s.time : 0;
  if (mask != nullptr)
    for (int64_t t = 0; t < s.time; ++t) tokens += mask[b * s.batch_step + t * s.time_step] != 0 ? 1 : 0;
  return 1.0f / float(std::max<int64_t>(1, tokens));
}

}  // namespace

template <>
void MaskedMean::cpu<kIsa>(CpuContext& c) const {
  const SequenceRows s(x.shape, axis);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, s.batch, [&, keep = mask.as<uint8_t>()](int64_t b) {
      const float factor = share_of(s, keep, b);
      share.as<float>()[b] = factor;
      for (int64_t first = 0; first < s.cols; first += kStrip) {
        const int64_t width = std::min(kStrip, s.cols - first);
        float sum[kStrip] = {};
        for (int64_t t = 0; t < s.time; ++t) {
          const int64_t row = b * s.batch_step + t * s.time_step;
          if (keep != nullptr && keep[row] == 0) continue;
          const T* in = x.as<T>() + row * s.cols + first;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) sum[j] += float(in[j]);
        }
        T* out = y.as<T>() + b * s.cols + first;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) store(out[j], sum[j] * factor);
      }
    });
  });
}

template <>
void MaskedMeanGrad::cpu<kIsa>(CpuContext& c) const {
  const SequenceRows s(dx.shape, axis);
  visit_float(dx.dtype, [&]<class T>() {
    parallel_for(c, s.batch * s.time, [&, keep = mask.as<uint8_t>()](int64_t row) {
      const int64_t b = row / s.batch_step % s.batch;
      T* out = dx.as<T>() + row * s.cols;
      if (keep != nullptr && keep[row] == 0) {
        std::fill_n(out, s.cols, T(0.0f));
        return;
      }
      const T* in = dy.as<T>() + b * s.cols;
      const float factor = share.as<float>()[b];
#pragma omp simd
      for (int64_t j = 0; j < s.cols; ++j) store(out[j], float(in[j]) * factor);
    });
  });
}

}  // namespace sluice::kernels
