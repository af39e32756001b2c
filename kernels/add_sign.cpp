// CPU half of x + epsilon sign(x): stretches that stay near the core, packed eight at a time, then written.
#include "kernels/add_sign.h"

#include <algorithm>

#include "kernels/common/bit_loops.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

// Signs are as good as random: a branch on them costs more than all the rest, and g++ vectorises selects only in loops
// longer than a register.
template <>
void AddSign::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    const T* in = x.as<T>();
    T* out = y.as<T>();
    uint8_t* packed = bits.as<uint8_t>();
    const float e = epsilon, zero = epsilon * of_zero;
    parallel_blocks(c, x.numel(), 16384, [=](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; first += kStretch) {
        const int64_t count = std::min(kStretch, end - first);
        float converted[kStretch];
        const float* v = as_floats(in + first, count, converted);
        if (packed != nullptr) pack_positive(v, count, packed + first / 8);
#pragma omp simd
        for (int64_t k = 0; k < count; ++k) {
          const float up = v[k] > 0.0f ? e : zero;
          store(out[first + k], v[k] + (v[k] < 0.0f ? -e : up));
        }
      }
    });
  });
}

}  // namespace sluice::kernels
