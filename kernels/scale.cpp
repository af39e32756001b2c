// CPU half of the product with a scalar.
#include "kernels/scale.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void Scale::cpu<kIsa>(CpuContext& c) const {
  visit_float(x.dtype, [&]<class T>() {
    parallel_blocks(c, x.numel(), 16384,
                    [f = *factor.as<float>(), in = x.as<T>(), out = y.as<T>()](int64_t begin, int64_t end) {
#pragma omp simd
                      for (int64_t i = begin; i < end; ++i) store(out[i], f * float(in[i]));
                    });
  });
}

}  // namespace sluice::kernels
