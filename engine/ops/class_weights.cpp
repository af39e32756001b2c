// Shares of the classes; no gradient.
#include "kernels/class_weights.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor class_weights(Ctx& c, const Tensor& labels, int64_t classes) {
  Tensor weights = c.empty({classes});
  launch(kernels::ClassWeights{.labels = labels.cref(), .weights = weights.ref()}, c.stream);
  return weights;
}

}  // namespace sluice
