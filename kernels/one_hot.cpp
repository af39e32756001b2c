// CPU half of the one-hot encoding.
#include "kernels/one_hot.h"

#include <limits>

#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void OneHot::cpu<kIsa>(CpuContext& c) const {
  visit_float(y.dtype, [&]<class T>() {
    parallel_for(c, y.dim(0), [&, classes = y.dim(1)](int64_t r) {
      const int64_t label = identity() ? r : labels.as<int32_t>()[r];
      const bool valid = label >= 0 && label < classes;
      T* out = y.as<T>() + r * classes;
      std::fill_n(out, classes, T(valid ? 0.0f : std::numeric_limits<float>::quiet_NaN()));
      if (valid) out[label] = T(1.0f);
    });
  });
}

}  // namespace sluice::kernels
