// CPU half of the expansion: one pass, eight elements and their byte at a time.
#include "kernels/expand_signs.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void ExpandSigns::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    T* out = y.as<T>();
    const uint8_t* packed = bits.as<uint8_t>();
    const float set = one, clear = zero;
    parallel_blocks(c, y.numel(), 16384, [=](int64_t begin, int64_t end) {
      for_eights(begin, end, [=](int64_t i, auto count) {
        const int32_t byte = packed[i / 8];
        for (int64_t k = 0; k < count; ++k) store(out[i + k], (byte >> k & 1) != 0 ? set : clear);
      });
    });
  });
}

}  // namespace sluice::kernels
