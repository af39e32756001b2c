// CPU half of the element-wise sum.
#include "kernels/add.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void Add::cpu<kIsa>(CpuContext& c) const {
  visit_float(a.dtype, [&]<class T>() {
    parallel_blocks(c, a.numel(), 16384,
                    [left = a.as<T>(), right = b.as<T>(), out = y.as<T>()](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) out[i] = T(float(left[i]) + float(right[i]));
                    });
  });
}

}  // namespace sluice::kernels
