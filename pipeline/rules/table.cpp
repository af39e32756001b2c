// The table of learning rules.
#include "engine/error.h"
#include "pipeline/rule.h"

namespace sluice {

const std::vector<RuleKind>& rules() {
  static const std::vector<RuleKind> table = {
      {"backprop", true, make_backprop},
      {"associated", false, make_associated},
  };
  return table;
}

const RuleKind& find_rule(const std::string& name) {
  std::string known;
  for (const RuleKind& r : rules()) {
    if (r.name == name) return r;
    known += (known.empty() ? "" : ", ") + std::string(r.name);
  }
  throw ConfigError(str("rule '", name, "' does not exist, expected one of: ", known));
}

}  // namespace sluice
