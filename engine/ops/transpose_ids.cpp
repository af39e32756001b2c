// Batch-major ids to time-major ones and back; no gradient.
#include "kernels/transpose_ids.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor transpose_ids(Ctx& c, const Tensor& ids) {
  expect_rank("transpose_ids", "ids", ids.shape(), 2);
  Tensor y = c.empty({ids.dim(1), ids.dim(0)}, ids.dtype());
  launch(kernels::TransposeIds{.x = ids.cref(), .y = y.ref()}, c.stream);
  return y;
}

}  // namespace sluice
