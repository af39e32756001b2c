// Runs branches in order and joins their results in one pass.
#include "layers/branches.h"

namespace sluice {

Branches& Branches::add(ModulePtr trunk, std::vector<ModulePtr> ends) {
  results_ += std::max<size_t>(1, ends.size());
  if (results_ > kMostInputs)
    throw ConfigError(str("branches: ", results_, " results, expected at most ", kMostInputs));
  branches_.push_back({std::move(trunk), std::move(ends)});
  return *this;
}

Var Branches::forward(Ctx& c, const Var& x) const {
  std::vector<Var> results;
  for (const Branch& b : branches_) {
    const Var v = b.trunk->forward(c, x);
    if (b.ends.empty()) results.push_back(v);
    for (const ModulePtr& end : b.ends) results.push_back(end->forward(c, v));
  }
  return concat(c, results);
}

}  // namespace sluice
