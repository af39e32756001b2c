// CPU halves of the 8-bit form: a group is read twice while it is in the first-level cache.
#include "kernels/quantize.h"

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void Quantize::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    const int64_t n = x.numel();
    parallel_for(c, quant_groups(n), [n, in = x.as<T>(), out = q.as<uint8_t>(), range = ranges.as<float>()](int64_t g) {
      const int64_t begin = g * kQuantGroup, end = std::min(n, begin + kQuantGroup);
      float low = float(in[begin]), high = low;
#pragma omp simd reduction(min : low) reduction(max : high)
      for (int64_t i = begin; i < end; ++i) {
        const float v = float(in[i]);
        low = v < low ? v : low;
        high = v > high ? v : high;
      }
      const float step = (high - low) / 255.0f, per = step > 0.0f ? 1.0f / step : 0.0f;
      range[2 * g] = low;
      range[2 * g + 1] = step;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) out[i] = uint8_t(quantum(float(in[i]), low, per));
    });
  });
}

template <>
void Dequantize::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    const int64_t n = y.numel();
    parallel_for(c, quant_groups(n), [n, in = q.as<uint8_t>(), out = y.as<T>(), range = ranges.as<float>()](int64_t g) {
      const float low = range[2 * g], step = range[2 * g + 1];
      const int64_t begin = g * kQuantGroup, end = std::min(n, begin + kQuantGroup);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(out[i], low + float(in[i]) * step);
    });
  });
}

}  // namespace sluice::kernels
