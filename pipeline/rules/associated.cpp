// Associated learning: each stage has losses of its own.
#include "engine/error.h"
#include "pipeline/rule.h"

namespace sluice {
namespace {

class Associated final : public LearningRule {
 public:
  std::vector<Root> error(const Stage& stage, Signals signals) override {
    std::vector<Root> roots;
    for (Var& loss : signals.losses) roots.push_back({std::move(loss), {}});
    if (roots.empty()) throw ScheduleError(str(stage.name, ": no loss of its own, which associated learning needs"));
    return roots;
  }
};

}  // namespace

RulePtr make_associated() { return std::make_unique<Associated>(); }

}  // namespace sluice
