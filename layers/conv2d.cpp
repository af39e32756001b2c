// Declares a convolution's parameters.
#include "layers/conv2d.h"

#include <cmath>

namespace sluice {

Conv2d::Conv2d(Init init, Shape2d shape, Conv2dSpec spec, bool bias, const WeightRule& rule) {
  if (spec.groups < 1 || shape.in % spec.groups != 0 || shape.out % spec.groups != 0)
    throw ShapeError(
        str(init.path(), ": ", shape.in, " -> ", shape.out, " channels do not split into ", spec.groups, " groups"));
  const int64_t fan_in = shape.window * shape.window * shape.in / spec.groups;
  const InitialValue initial = InitialValue::uniform(1.0f / std::sqrt(float(fan_in)));
  params_.weight = init.param("weight", {shape.out, shape.window, shape.window, shape.in / spec.groups}, initial);
  if (bias) params_.bias = init.param("bias", {shape.out}, initial);
  params_.spec = spec;
  params_.rule = declare_rule(init, rule, shape.in);
}

}  // namespace sluice
