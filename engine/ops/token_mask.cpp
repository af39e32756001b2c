// Which tokens are no padding; no gradient.
#include "kernels/token_mask.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {

Tensor token_mask(Ctx& c, const Tensor& ids) {
  Tensor mask = c.empty(ids.shape(), DType::kU8);
  launch(kernels::TokenMask{.ids = ids.cref(), .mask = mask.ref()}, c.stream);
  return mask;
}

}  // namespace sluice
