// A learning rule: where a stage's error signal and its weights come from. The executor only interprets actions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "pipeline/stage.h"
#include "pipeline/wiring.h"

namespace sluice {

/// What a backward pass can start from.
struct Signals {
  std::vector<Var> losses;      // of the stage itself
  std::vector<Root> gradients;  // of the stage's outputs, from later stages; only where the error crosses
};
/// Where backward starts. Throws ScheduleError when the stage has nothing to learn from.
using ErrorOf = std::vector<Root> (*)(const Stage& stage, Signals signals);

/// A rule is data: nothing of it depends on the stage that it serves.
struct LearningRule {
  const char* name;
  const char* summary;        // one line of help
  bool error_crosses = true;  // end-to-end: the error of a stage comes from the stages after it
  bool synchronous = true;    // weights must not change between forward and backward of a micro-batch
  ErrorOf error = nullptr;
  WeightsRead forward = newest_weights, backward = newest_weights;
  std::optional<Lookahead> lookahead{};  // how weights are foretold; none: no pass reads such
};

/// Every rule: in the order of the help.
const std::vector<LearningRule>& rules();
/// Throws ConfigError with the names that exist.
const LearningRule& find_rule(const std::string& name);

// One function a file of rules/.

/// End-to-end backpropagation: a stage's error is its own losses plus the gradients of its outputs.
LearningRule backprop();
/// Associated learning: a stage's error is its own losses; nothing comes back from later stages.
LearningRule associated();
/// Asynchronous backpropagation on the newest weights, whatever they are: forward and backward may disagree.
LearningRule naive_asynchronous();
/// PipeDream (Harlap et al. 2018; Narayanan et al., SOSP 2019): backward on the weights of its forward, which are
/// stashed; s + 1 versions where s updates lie between.
LearningRule pipedream();
/// PipeDream with vertical sync: every stage reads the version that was the newest of the first stage when the
/// micro-batch entered it; as many versions as there are workers.
LearningRule pipedream_vertical();
/// PipeDream-2BW (Narayanan et al., ICML 2021): two versions, W(t+1) = W(t) - lr f'(W(t-1)) on every stage. A step has
/// as many micro-batches as there are workers, or more.
LearningRule pipedream_2bw();
/// SpecTrain (Chen, Yang and Cheng 2018): forward on weights floor(r/2) + p - r - 1 steps ahead, backward floor(r/2).
LearningRule spectrain();
/// XPipe (Guan et al. 2019): a step's first micro-batch foretells the weights for all of them.
LearningRule xpipe();
/// PipeOptim (Guan et al.): forward on the weights that backward will find, foretold from the last step's direction;
/// backward on the newest. The exact number of updates in between, so that nothing is foretold too far when the
/// pipeline fills.
LearningRule pipeoptim();
/// The paper's fixed s = p - r - 1, also while the pipeline fills.
LearningRule pipeoptim_paper();
/// As the released code: s + 1 steps, and SGD's momentum applied once more.
LearningRule pipeoptim_released();
/// pipeoptim() that counts decoupled weight decay in.
LearningRule pipeoptim_decay();

}  // namespace sluice
