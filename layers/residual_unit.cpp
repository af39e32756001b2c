// Declares a residual unit's layers and runs them.
#include "layers/residual_unit.h"

#include "engine/recompute.h"

namespace sluice {
namespace {

float variance(const ResidualUnitConfig& c, bool runs_again) { return runs_again ? c.recomputed_variance : 1.0f; }

}  // namespace

ResidualUnit::ResidualUnit(const Init& init, const ResidualUnitConfig& c)
    : recompute_(c.recompute),
      recompute_projection_(c.recompute_projection),
      first_{.conv = {init.scope("conv1"),
                      {c.in, c.planes, c.bottleneck ? 1 : 3},
                      {.stride = c.bottleneck ? 1 : c.stride, .padding = c.bottleneck ? 0 : 1},
                      c.first_biases,
                      c.rule,
                      c.start},
             .bn = {init.scope("bn1"), c.planes, Act::kRelu, variance(c, c.recompute)}},
      second_{.conv = {init.scope("conv2"),
                       {c.planes, c.planes, 3},
                       {.stride = c.bottleneck ? c.stride : 1, .padding = 1},
                       c.more_biases,
                       {},
                       c.start},
              .bn = {init.scope("bn2"), c.planes, Act::kRelu, variance(c, c.recompute && c.bottleneck)}} {
  if (c.bottleneck)  // where it runs again, the sum is outside
    third_.emplace(
        Normed{.conv = {init.scope("conv3"), {c.planes, c.out(), 1}, {}, c.more_biases, {}, c.start},
               .bn = {init.scope("bn3"), c.out(), c.recompute ? Act::kNone : Act::kRelu, variance(c, c.recompute)}});
  if (!c.projects()) return;
  const Init path = init.scope("shortcut");
  projection_.emplace(
      Normed{.conv = {path.scope("conv"), {c.in, c.out(), 1}, {.stride = c.stride}, c.first_biases, c.rule, c.start},
             .bn = {path.scope("bn"), c.out(), Act::kNone, variance(c, c.recompute_projection)}});
}

Var ResidualUnit::shortcut(Ctx& c, const Var& x, const Tensor& residual) const {
  if (!projection_) return x;
  const auto project = [this](Ctx& k, const Var& in, const Tensor& kept) {
    return projection_->bn.forward(k, projection_->conv.forward(k, in, kept));
  };
  if (!recompute_projection_) return project(c, x, residual);
  return sluice::recompute(c, {x}, [project](Ctx& k, const std::vector<Var>& in) { return project(k, in[0], {}); });
}

Var ResidualUnit::forward(Ctx& c, const Var& x, const Tensor& residual) const {
  const auto inner = [this](Ctx& k, const Var& z) { return second_.conv.forward(k, first_.bn.forward(k, z)); };
  const auto outer = [this](Ctx& k, const Var& z) { return third_->conv.forward(k, second_.bn.forward(k, z)); };
  const Var z = first_.conv.forward(c, x, residual), r = shortcut(c, x, residual);
  if (!recompute_) {
    const Var h = inner(c, z);
    return third_ ? third_->bn.forward(c, outer(c, h), r) : second_.bn.forward(c, h, r);
  }
  const Var h = sluice::recompute(c, {z}, [inner](Ctx& k, const std::vector<Var>& in) { return inner(k, in[0]); });
  if (!third_) return second_.bn.forward(c, h, r);
  const Var y = sluice::recompute(
      c, {h}, [this, outer](Ctx& k, const std::vector<Var>& in) { return third_->bn.forward(k, outer(k, in[0])); });
  return add_relu(c, y, r);
}

}  // namespace sluice
