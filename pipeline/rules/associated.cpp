// Associated learning: each stage has losses of its own.
#include "engine/error.h"
#include "pipeline/rule.h"

namespace sluice {
namespace {

std::vector<Root> own_losses(const Stage& stage, Signals signals) {
  std::vector<Root> roots;
  for (Var& loss : signals.losses) roots.push_back({std::move(loss), {}});
  if (roots.empty()) throw ScheduleError(str(stage.name, ": no loss of its own, which associated learning needs"));
  return roots;
}

}  // namespace

LearningRule associated() {
  return {.name = "associated",
          .summary = "stages learn from losses of their own",
          .error_crosses = false,
          .error = own_losses};
}

}  // namespace sluice
