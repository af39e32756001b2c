// The table of learning rules.
#include "engine/error.h"
#include "pipeline/rule.h"

namespace sluice {

const std::vector<LearningRule>& rules() {
  static const std::vector<LearningRule> table = {
      backprop(),  associated(), naive_asynchronous(), pipedream(),       pipedream_vertical(), pipedream_2bw(),
      spectrain(), xpipe(),      pipeoptim(),          pipeoptim_paper(), pipeoptim_released(), pipeoptim_decay(),
  };
  return table;
}

const LearningRule& find_rule(const std::string& name) {
  std::string known;
  for (const LearningRule& r : rules()) {
    if (r.name == name) return r;
    known += (known.empty() ? "" : ", ") + std::string(r.name);
  }
  throw ConfigError(str("rule '", name, "' does not exist, expected one of: ", known));
}

}  // namespace sluice
