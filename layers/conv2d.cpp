// Declares a convolution's parameters.
#include "layers/conv2d.h"

#include <cmath>

namespace sluice {

Conv2d::Conv2d(Init init, Shape2d shape, Conv2dSpec spec, bool bias, const WeightRule& rule, ConvStart start) {
  if (spec.groups < 1 || shape.in % spec.groups != 0 || shape.out % spec.groups != 0)
    throw ShapeError(
        str(init.path(), ": ", shape.in, " -> ", shape.out, " channels do not split into ", spec.groups, " groups"));
  const int64_t window = int64_t{shape.window.rows} * shape.window.columns;
  const InitialValue uniform = InitialValue::uniform(1.0f / std::sqrt(float(window * shape.in / spec.groups)));
  const InitialValue initial = start == ConvStart::kFanIn ? uniform
                               : start == ConvStart::kFanOut
                                   ? InitialValue::normal(0, std::sqrt(2.0f / float(window * shape.out)))
                                   : InitialValue::truncated(0.1f, 2);
  params_.weight =
      init.param("weight", {shape.out, shape.window.rows, shape.window.columns, shape.in / spec.groups}, initial);
  if (bias)
    params_.bias = init.param("bias", {shape.out}, start == ConvStart::kFanIn ? uniform : InitialValue::constant(0));
  params_.spec = spec;
  params_.rule = declare_rule(init, rule, shape.in);
}

}  // namespace sluice
