// CPU half of the expansion: a byte names a row of a table with its eight elements.
#include "kernels/expand_signs.h"

#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void ExpandSigns::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    T table[256][8];  // stays in the first-level cache
    for (int byte = 0; byte < 256; ++byte)
      for (int k = 0; k < 8; ++k) store(table[byte][k], (byte >> k & 1) != 0 ? one : zero);
    parallel_blocks(c, y.numel(), 16384,
                    [out = y.as<T>(), packed = bits.as<uint8_t>(), rows = &table[0]](int64_t begin, int64_t end) {
                      for_eights(begin, end,
                                 [=](int64_t i, auto count) { std::copy_n(rows[packed[i / 8]], count, out + i); });
                    });
  });
}

}  // namespace sluice::kernels
