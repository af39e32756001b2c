// Declares a densely connected unit's layers and runs them.
#include "layers/dense_unit.h"

namespace sluice {

DenseUnit::DenseUnit(const Init& init, const DenseUnitConfig& c)
    : bn1_(init.scope("bn1"), c.in, Act::kRelu),
      conv1_(init.scope("conv1"), {c.in, c.inner, 1}, {}, /*bias=*/false),
      bn2_(init.scope("bn2"), c.inner, Act::kRelu),
      conv2_(init.scope("conv2"), {c.inner, c.growth, 3}, {.padding = 1}, /*bias=*/false) {}

Var DenseUnit::forward(Ctx& c, const Var& x) const {
  const Var inner = bn2_.forward(c, conv1_.forward(c, bn1_.forward(c, x)));
  return concat(c, {x, conv2_.forward(c, inner)});
}

}  // namespace sluice
