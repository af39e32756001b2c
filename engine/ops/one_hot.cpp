// One-hot labels; no gradient.
#include "kernels/one_hot.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor one_hot(Ctx& c, const Tensor& labels, int64_t classes) {
  Tensor y = c.empty({labels.numel(), classes});
  launch(kernels::OneHot{.labels = labels.cref(), .y = y.ref()}, c.stream);
  return y;
}

Tensor identity(Ctx& c, int64_t n) {
  Tensor y = c.empty({n, n});
  launch(kernels::OneHot{.y = y.ref()}, c.stream);
  return y;
}

}  // namespace sluice
