// Several ways through a network side by side, whose results become one image (Szegedy et al. 2015).
#pragma once

#include <vector>

#include "layers/module.h"

namespace sluice {

/// x -> the columns of all that the branches give, in order: at most six results of equal rows.
class Branches final : public Module {
 public:
  /// A branch with one result, branch(x). Throws ConfigError for a seventh result.
  Branches& add(ModulePtr branch) { return add(std::move(branch), {}); }
  /// A branch with several: each of `ends`, applied to trunk(x).
  Branches& add(ModulePtr trunk, std::vector<ModulePtr> ends);
  Var forward(Ctx& c, const Var& x) const override;

 private:
  struct Branch {
    ModulePtr trunk;
    std::vector<ModulePtr> ends;
  };
  std::vector<Branch> branches_;
  size_t results_ = 0;
};

}  // namespace sluice
