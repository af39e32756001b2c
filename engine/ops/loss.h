// What the losses share: forward makes the gradient with the loss, backward only scales it.
#pragma once

#include "engine/ops.h"

namespace sluice {

/// Records a loss whose gradient towards x is already known. Backward returns it as it is for a root, or times dy.
Var record_loss(Ctx& c, const Tensor& loss, const Var& x, const Tensor& dx);

}  // namespace sluice
