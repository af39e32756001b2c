// CPU half of SwapAxes: a task gathers the rows of one place along y's first dimension.
#include "kernels/swap_axes.h"

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void SwapAxes::cpu<kIsa>(CpuContext& c) const {
  const int64_t outer = x.dim(0), inner = x.dim(1), cols = x.dim(2);
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, inner, [&](int64_t j) {
      T* out = y.as<T>() + j * outer * cols;
      for (int64_t i = 0; i < outer; ++i) out = std::copy_n(x.as<T>() + (i * inner + j) * cols, cols, out);
    });
  });
}

}  // namespace sluice::kernels
