// Whether the label codes of associated stages tell the classes apart. They need no data: labels are all they see.
#pragma once

#include <vector>

#include "pipeline/stage.h"

namespace sluice {

struct CodeHealth {
  double spread = 0;   // standard deviation of the code across classes, mean square over its units
  double decoded = 0;  // share of the classes that the decoders up to this stage find again from its codes
};

/// By stage, with the newest weights. Waits for the stages' streams. Throws ConfigError for stages without label codes.
std::vector<CodeHealth> code_health(Stages stages, int64_t classes);

}  // namespace sluice
