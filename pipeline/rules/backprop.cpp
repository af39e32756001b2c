// Backpropagation: the error crosses stages.
#include "engine/error.h"
#include "pipeline/rule.h"

namespace sluice {
namespace {

class Backprop final : public LearningRule {
 public:
  std::vector<Root> error(const Stage& stage, Signals signals) override {
    std::vector<Root> roots = std::move(signals.gradients);
    for (Var& loss : signals.losses) roots.push_back({std::move(loss), {}});
    if (roots.empty()) throw ScheduleError(str(stage.name, ": no loss and no later stage to learn from"));
    return roots;
  }
};

}  // namespace

RulePtr make_backprop() { return std::make_unique<Backprop>(); }

}  // namespace sluice
