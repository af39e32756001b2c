// Some samples of a batch; no gradient.
#include "kernels/select_rows.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor select_rows(Ctx& c, const Tensor& x, const Tensor& index, int axis) {
  Shape shape;
  for (int i = 0; i < x.shape().rank(); ++i) shape.push_back(i == axis ? index.numel() : x.dim(i));
  Tensor y = c.empty(shape, x.dtype());
  launch(kernels::SelectRows{.x = x.cref(), .index = index.cref(), .y = y.ref(), .axis = axis}, c.stream);
  return y;
}

}  // namespace sluice
