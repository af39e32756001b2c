// CPU half of the count of right answers.
#include "kernels/correct_count.h"

#include <limits>

#include "kernels/common/visit.h"

namespace sluice::kernels {

template <>
void CorrectCount::cpu<kIsa>(CpuContext&) const {
  int64_t right = 0;
  visit_float(logits.dtype, [&]<class T>() {
    for (int64_t r = 0, classes = logits.dim(1); r < logits.dim(0); ++r) {
      const T* x = logits.as<T>() + r * classes;
      float top = -std::numeric_limits<float>::infinity();
      int64_t at = -1;
      for (int64_t k = 0; k < classes; ++k) {
        if (!(float(x[k]) > top) && !(at < 0 && float(x[k]) == top)) continue;
        top = float(x[k]);
        at = k;
      }
      right += at >= 0 && at == labels.as<int32_t>()[r];
    }
  });
  *count.as<float>() = float(right);
}

}  // namespace sluice::kernels
