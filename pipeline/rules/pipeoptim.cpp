// PipeOptim: forward on the weights that its backward will find.
#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

/// Gradients are added in ascending order, so backward comes behind the updates of all steps before its own.
WeightRead of_own_backward(const PassAt& at) {
  return {.version = at.updates, .ahead = at.mb / at.mbs_per_step - at.updates};
}
WeightRead ahead_by_depth(const PassAt& at) { return {.version = at.updates, .ahead = at.workers - at.worker - 1}; }
WeightRead ahead_by_depth_and_one(const PassAt& at) { return {.version = at.updates, .ahead = at.workers - at.worker}; }

}  // namespace

LearningRule pipeoptim() {
  return foretelling(
      Lookahead::kDirection,
      asynchronous("pipeoptim", "asynchronous, forward on the weights foretold for its backward", of_own_backward));
}

LearningRule pipeoptim_paper() {
  return foretelling(
      Lookahead::kDirection,
      asynchronous("pipeoptim_paper", "pipeoptim with the paper's fixed distance, also while the pipeline fills",
                   ahead_by_depth));
}

LearningRule pipeoptim_released() {
  return foretelling(
      Lookahead::kReleased,
      asynchronous("pipeoptim_released", "pipeoptim as its released code: one step further, momentum applied twice",
                   ahead_by_depth_and_one));
}

LearningRule pipeoptim_decay() {
  return foretelling(Lookahead::kDecayAware,
                     asynchronous("pipeoptim_decay", "pipeoptim that counts AdamW's weight decay in", of_own_backward));
}

}  // namespace sluice
