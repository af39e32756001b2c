// Counting what models declare.
#pragma once

#include <string>
#include <vector>

#include "layers/module.h"

namespace sluice::test {

inline int64_t count(const Init& init, const std::string& prefix = "") {
  int64_t n = 0;
  for (const ParamSpec& p : init.params())
    if (p.path.rfind(prefix, 0) == 0) n += p.shape.numel();
  return n;
}

inline int64_t total(const std::vector<StageNet>& nets) {
  int64_t n = 0;
  for (const StageNet& s : nets) n += count(s.init);
  return n;
}

}  // namespace sluice::test
