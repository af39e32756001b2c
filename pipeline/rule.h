// A learning rule: where a stage's error signal and its weights come from. The executor only interprets actions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pipeline/action.h"
#include "pipeline/stage.h"
#include "pipeline/wiring.h"

namespace sluice {

/// What a backward pass can start from.
struct Signals {
  std::vector<Var> losses;      // of the stage itself
  std::vector<Root> gradients;  // of the stage's outputs, from later stages; only where the error crosses
};

/// One object per stage, used by its worker's thread, so a rule may keep state. The defaults train on the newest
/// weights.
class LearningRule {
 public:
  virtual ~LearningRule() = default;
  virtual Weights forward_weights(Stage& stage, const Action&) { return stage.arena.weights(); }
  virtual Weights backward_weights(Stage& stage, const Action&) { return stage.arena.weights(); }
  /// Where backward starts. Throws ScheduleError when the stage has nothing to learn from.
  virtual std::vector<Root> error(const Stage& stage, Signals signals) = 0;
  /// Queues the update that ends a step.
  virtual void update(Stage& stage, int64_t step) {
    stage.optimizer->step(stage.arena, stage.stream, step, stage.settings(step), stage.finite);
  }
};
using RulePtr = std::unique_ptr<LearningRule>;

/// A rule by name, and what it asks of a schedule.
struct RuleKind {
  const char* name;
  bool error_crosses;
  RulePtr (*make)();
};
const std::vector<RuleKind>& rules();
/// Throws ConfigError with the names that exist.
const RuleKind& find_rule(const std::string& name);

/// End-to-end backpropagation: a stage's error is its own losses plus the gradients of its outputs.
RulePtr make_backprop();
/// Associated learning: a stage's error is its own losses; nothing comes back from later stages.
RulePtr make_associated();

}  // namespace sluice
