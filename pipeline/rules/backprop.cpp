// Backpropagation: the error crosses stages.
#include "engine/error.h"
#include "pipeline/rules/end_to_end.h"

namespace sluice {
namespace {

std::vector<Root> error_from_later_stages(const Stage& stage, Signals signals) {
  std::vector<Root> roots = std::move(signals.gradients);
  for (Var& loss : signals.losses) roots.push_back({std::move(loss), {}});
  if (roots.empty()) throw ScheduleError(str(stage.name, ": no loss and no later stage to learn from"));
  return roots;
}

}  // namespace

LearningRule backprop() {
  return {.name = "backprop", .summary = "every step as on one device", .error = error_from_later_stages};
}

LearningRule asynchronous(const char* name, const char* summary, WeightsRead forward, WeightsRead backward) {
  return {.name = name,
          .summary = summary,
          .synchronous = false,
          .error = error_from_later_stages,
          .forward = forward,
          .backward = backward};
}

LearningRule foretelling(Lookahead how, LearningRule rule) {
  rule.lookahead = how;
  return rule;
}

LearningRule naive_asynchronous() {
  return asynchronous("naive", "asynchronous on the newest weights: forward and backward disagree");
}

}  // namespace sluice
