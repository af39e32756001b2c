// Declares a vision transformer block's parameters in the order in which they are used.
#include "layers/vision_block.h"

#include <cmath>

#include "layers/checks.h"

namespace sluice {
namespace {

/// Q, K and V side by side; a learned vector each where the rule has one.
Linear projections(const Init& path, int64_t d, const WeightRule& rule) {
  Init init = path;
  const InitialValue start = InitialValue::uniform(1.0f / std::sqrt(float(d)));
  Linear l;
  l.weight = init.param("weight", {3 * d, d}, start);
  l.bias = init.param("bias", {3 * d}, start);
  l.rule = declare_rule(init, rule, d, 3);
  return l;
}

WeightRule narrow_rule(const AuxiliaryCoverage& a) {
  const bool forgotten = a.faithful && a.level == 1;
  return a.rule(1, !forgotten);
}

}  // namespace

VisionBlock::VisionBlock(const Init& init, const VisionBlockConfig& c)
    : attention_norm_(init.scope("attention_norm"), c.width),
      inner_norm_(init.scope("inner_norm"), c.width),
      qkv_(projections(init.scope("qkv"), c.width, c.auxiliary.rule(4))),
      out_(init.scope("out"), c.width, c.width, Act::kNone, DenseStart::kFanIn, c.auxiliary.rule(3)),
      widen_(init.scope("widen"), c.width, c.inner, Act::kRelu, DenseStart::kFanIn, c.auxiliary.rule(2)),
      narrow_(init.scope("narrow"), c.inner, c.width, Act::kRelu, DenseStart::kFanIn, narrow_rule(c.auxiliary)),
      attention_{.heads = c.heads, .recompute = c.recompute, .scale = 1.0f / std::sqrt(float(c.width))},
      dropout_(c.dropout),
      attention_path_(dropout_path(init, "attention_dropout")),
      inner_path_(dropout_path(init, "inner_dropout")),
      out_path_(dropout_path(init, "out_dropout")) {
  expect_heads(init, c.width, c.heads);
  expect_dropout(init, dropout_);
}

Var VisionBlock::forward(Ctx& c, const Var& x) const {
  const Var heads = attention(c, matmul(c, attention_norm_.forward(c, x), qkv_), Tensor(), attention_);
  const Var y = dropout(c, out_.forward(c, heads), x, dropout_, attention_path_);
  const Var wide = dropout(c, widen_.forward(c, inner_norm_.forward(c, y)), dropout_, inner_path_);
  return dropout(c, narrow_.forward(c, wide), y, dropout_, out_path_);
}

}  // namespace sluice
