// Declares the vectors of layers whose weight gradients come from one.
#include "layers/auxiliary.h"

#include <cmath>

namespace sluice {

WeightRule declare_rule(Init init, WeightRule rule, int64_t in, int64_t groups) {
  if (rule.from == Auxiliary::kBias)
    rule.auxiliary = init.param("auxiliary_bias", groups == 1 ? Shape{in} : Shape{groups, in},
                                InitialValue::uniform(1.0f / std::sqrt(float(in))));
  return rule;
}

}  // namespace sluice
