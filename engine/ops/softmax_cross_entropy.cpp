// Softmax cross-entropy: loss and gradient in one pass over the logits.
#include "kernels/softmax_cross_entropy.h"

#include "engine/launch.h"
#include "engine/ops/loss.h"

namespace sluice {

Var softmax_cross_entropy(Ctx& c, const Var& logits, const ClassTargets& targets, float weight,
                          const Tensor& row_weights) {
  const bool record = c.recording({logits}, false);
  Tensor loss = c.empty({1});
  const Tensor dlogits = record ? c.empty(logits.shape(), logits.value.dtype()) : Tensor();
  launch(kernels::SoftmaxCrossEntropy{.logits = logits.value.cref(),
                                      .labels = targets.labels.cref(),
                                      .loss = loss.ref(),
                                      .dlogits = dlogits.ref(),
                                      .row_weights = row_weights.cref(),
                                      .labels2 = targets.labels2.cref(),
                                      .share = targets.share.cref(),
                                      .smoothing = targets.smoothing,
                                      .unsmoothed = targets.unsmoothed,
                                      .weight = weight},
         c.stream);
  return record ? record_loss(c, loss, logits, dlogits) : Var{loss};
}

}  // namespace sluice
