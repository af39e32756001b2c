// CPU half of x + epsilon sign(x): stretches that stay near the core, packed eight at a time, then written.
#include "kernels/add_sign.h"

#include <algorithm>
#include <type_traits>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kStretch = 512;

/// The numbers where they are, or converted.
template <class T>
const float* floats(const T* at, int64_t count, float* converted) {
  if constexpr (std::is_same_v<T, float>) return at;
#pragma omp simd
  for (int64_t k = 0; k < count; ++k) converted[k] = float(at[k]);
  return converted;
}

}  // namespace

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
        const float* v = floats(in + first, count, converted);
        if (packed != nullptr)
          for_eights(0, count, [=](int64_t i, auto some) {
            float eight[8] = {};
            std::copy_n(v + i, some, eight);
            packed[(first + i) / 8] = positive_bits(eight);
          });
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
