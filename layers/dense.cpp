// Declares a dense layer's parameters.
#include "layers/dense.h"

#include <cmath>

namespace sluice {

namespace {

struct DenseValues {
  InitialValue weight, bias;
};
DenseValues dense_values(DenseStart start, int64_t in, int64_t out) {
  const InitialValue fan_in = InitialValue::uniform(1.0f / std::sqrt(float(in))), zero = InitialValue::constant(0);
  switch (start) {
    case DenseStart::kFanIn:
      break;
    case DenseStart::kSpread:
      return {InitialValue::uniform(12.0f * std::sqrt(6.0f / float(in + out))), zero};
    case DenseStart::kNormal:
      return {InitialValue::normal(0, 0.01f), zero};
    case DenseStart::kTruncated:
      return {InitialValue::truncated(0.1f, 2), fan_in};
  }
  return {fan_in, fan_in};
}

}  // namespace

Dense::Dense(Init init, int64_t in, int64_t out, Act act, DenseStart start, const WeightRule& rule) {
  const DenseValues initial = dense_values(start, in, out);
  linear_.weight = init.param("weight", {out, in}, initial.weight);
  linear_.bias = init.param("bias", {out}, initial.bias);
  linear_.act = act;
  linear_.rule = declare_rule(init, rule, in);
}

}  // namespace sluice
