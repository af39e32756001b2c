// CPU halves of the packed ReLU: one pass, in stretches that stay near the core.
#include "kernels/packed_relu.h"

#include <algorithm>

#include "kernels/common/bit_loops.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void PackedRelu::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    const T *in = x.as<T>(), *add = residual.as<T>();
    T* out = y.as<T>();
    uint8_t* packed = bits.as<uint8_t>();
    parallel_blocks(c, x.numel(), 16384, [=](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; first += kStretch) {
        const int64_t count = std::min(kStretch, end - first);
        float buffer[kStretch];
        const float* v = as_floats(in + first, count, buffer);
        if (add != nullptr) {
#pragma omp simd
          for (int64_t k = 0; k < count; ++k) buffer[k] = v[k] + float(add[first + k]);
          v = buffer;
        }
        if (packed != nullptr) pack_positive(v, count, packed + first / 8);
        if (out == nullptr) continue;
#pragma omp simd
        for (int64_t k = 0; k < count; ++k) store(out[first + k], v[k] < 0.0f ? 0.0f : v[k]);  // NaN passes
      }
    });
  });
}

template <>
void PackedReluGrad::cpu<kIsa>(CpuContext& c) const {
  visit_float(dy.dtype, [&]<class T>() {
    parallel_blocks(c, dy.numel(), 16384,
                    [in = dy.as<T>(), out = dx.as<T>(), packed = bits.as<uint8_t>()](int64_t begin, int64_t end) {
                      keep_where_set(packed, in, out, begin, end);
                    });
  });
}

}  // namespace sluice::kernels
