// CPU half of x + epsilon sign(x): one pass, eight elements and their byte at a time.
#include "kernels/add_sign.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void AddSign::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    const T* in = x.as<T>();
    T* out = y.as<T>();
    uint8_t* packed = bits.as<uint8_t>();
    const float e = epsilon, zero = epsilon * of_zero;
    parallel_blocks(c, x.numel(), 16384, [=](int64_t begin, int64_t end) {
      for_eights(begin, end, [=](int64_t i, auto count) {
        float v[8] = {};
        for (int64_t k = 0; k < count; ++k) v[k] = float(in[i + k]);
        if (packed != nullptr) packed[i / 8] = positive_bits(v);
        for (int64_t k = 0; k < count; ++k) store(out[i + k], v[k] + (v[k] > 0.0f ? e : v[k] < 0.0f ? -e : zero));
      });
    });
  });
}

}  // namespace sluice::kernels
