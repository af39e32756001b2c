// CPU half of the class weights: a count, then one division for each class.
#include "kernels/class_weights.h"

#include <algorithm>
#include <limits>

namespace sluice::kernels {

template <>
void ClassWeights::cpu<kIsa>(CpuContext& c) const {
  const int64_t count = labels.numel(), classes = weights.dim(0);
  auto* counts = static_cast<int32_t*>(c.workspace(size_t(classes) * sizeof(int32_t)));
  std::fill_n(counts, classes, 0);
  bool known = true;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t label = labels.as<int32_t>()[i];
    const bool inside = label >= 0 && label < classes;
    known = known && inside;
    if (inside) ++counts[label];
  }
  const float total = known ? float(std::max<int64_t>(1, count)) : std::numeric_limits<float>::quiet_NaN();
  for (int64_t k = 0; k < classes; ++k) weights.as<float>()[k] = float(counts[k]) / total;
}

}  // namespace sluice::kernels
