// Declares the vectors of layers whose weight gradients come from one.
#include "layers/auxiliary.h"

#include <cmath>

namespace sluice {

void set_rule(Init init, Linear& linear, const WeightRule& rule, int64_t groups) {
  linear.rule = rule;
  if (rule.from != Auxiliary::kBias) return;
  const int64_t in = linear.weight.shape[1];
  linear.rule.auxiliary = init.param("auxiliary_bias", groups == 1 ? Shape{in} : Shape{groups, in},
                                     InitialValue::uniform(1.0f / std::sqrt(float(in))));
}

}  // namespace sluice
