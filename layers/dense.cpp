// Declares a dense layer's parameters.
#include "layers/dense.h"

#include <cmath>

namespace sluice {

Dense::Dense(Init init, int64_t in, int64_t out, Act act, DenseStart start, const WeightRule& rule) {
  const bool fan_in = start == DenseStart::kFanIn;
  const float bound = fan_in ? 1.0f / std::sqrt(float(in)) : 12.0f * std::sqrt(6.0f / float(in + out));
  linear_.weight = init.param("weight", {out, in}, InitialValue::uniform(bound));
  linear_.bias = init.param("bias", {out}, fan_in ? InitialValue::uniform(bound) : InitialValue::constant(0));
  linear_.act = act;
  linear_.rule = declare_rule(init, rule, in);
}

}  // namespace sluice
