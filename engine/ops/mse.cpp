// Mean squared error: loss and gradient in one pass.
#include "kernels/mse.h"

#include "engine/launch.h"
#include "engine/ops/loss.h"

namespace sluice {

Var mse(Ctx& c, const Var& x, const Tensor& target, float weight, const Tensor& row_weights) {
  const bool record = c.recording({x}, false);
  Tensor loss = c.empty({1});
  const Tensor dx = record ? c.empty(x.shape(), x.value.dtype()) : Tensor();
  launch(kernels::Mse{.x = x.value.cref(),
                      .target = target.cref(),
                      .loss = loss.ref(),
                      .dx = dx.ref(),
                      .row_weights = row_weights.cref(),
                      .weight = weight},
         c.stream);
  return record ? record_loss(c, loss, x, dx) : Var{loss};
}

}  // namespace sluice
