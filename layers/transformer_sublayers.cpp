// Declares the parameters of attention and feed-forward halves.
#include "layers/transformer_sublayers.h"

#include <cmath>

#include "layers/checks.h"

namespace sluice {
namespace {

/// Glorot and Bengio 2010.
InitialValue xavier(int64_t in, int64_t out) { return InitialValue::uniform(std::sqrt(6.0f / float(in + out))); }
InitialValue fan_in(int64_t in) { return InitialValue::uniform(1.0f / std::sqrt(float(in))); }

/// How a linear layer starts.
struct LinearStart {
  InitialValue weight, bias;
};
Linear linear(Init init, Shape weight, const LinearStart& start) {
  Linear l;
  l.weight = init.param("weight", weight, start.weight);
  l.bias = init.param("bias", {weight[0]}, start.bias);
  return l;
}

/// `parts` projections of the width onto itself, side by side.
Linear projection(const Init& init, const char* name, int64_t parts, const TransformerLayerConfig& c) {
  const int64_t d = c.width;
  const InitialValue bias =
      c.standard ? fan_in(d)
                 : InitialValue::clones(1.0f / std::sqrt(float(d)), path_hash(init.scope("projection_bias").path()), d);
  return linear(init.scope(name), {parts * d, d}, {xavier(d, d), bias});
}

/// Of the projections to Q, K and V. The authors' first code fuses them, and multiplies their gradients by 100 without
/// epsilon.
WeightRule projection_rule(const AuxiliaryCoverage& a) {
  WeightRule r = a.rule(4);
  if (a.faithful && r.from == Auxiliary::kSign) r.scale = 100.0f / r.epsilon;
  return r;
}

}  // namespace

LayerNorm transformer_norm(const Init& init, const char* name, const TransformerLayerConfig& c) {
  if (c.standard) return {init.scope(name), c.width};
  return {init.scope(name), c.width, LayerNormForm::kUnbiasedStd, 1e-6f};
}

AttentionSublayer::AttentionSublayer(const Init& init, const TransformerLayerConfig& c, AttentionTo to)
    : norm_(transformer_norm(init, "attention_norm", c)),
      dropout_(c.dropout),
      out_path_(dropout_path(init, "attention_dropout")) {
  const int64_t d = c.width;
  expect_heads(init, d, c.heads);
  expect_dropout(init, dropout_);
  const WeightRule rule = projection_rule(c.auxiliary);
  if (to == AttentionTo::kMemory) {
    in_ = projection(init, "query", 1, c);
    in_.rule = declare_rule(init.scope("query"), rule, d);
    memory_in_ = projection(init, "kv", 2, c);
    memory_in_.rule = declare_rule(init.scope("kv"), rule, d, 2);
  } else {
    in_ = projection(init, "qkv", 3, c);
    in_.rule = declare_rule(init.scope("qkv"), rule, d, 3);
  }
  out_ = projection(init, "out", 1, c);
  out_.rule = declare_rule(init.scope("out"), c.auxiliary.rule(3), d);
  attention_ = {.heads = c.heads,
                .dropout = c.dropout,
                .path = dropout_path(init, "probabilities"),
                .recompute = c.recompute,
                .causal = to == AttentionTo::kEarlier};
}

Var AttentionSublayer::add(Ctx& c, const Var& heads, const Var& x) const {
  return dropout(c, matmul(c, heads, out_), x, dropout_, out_path_);
}

Var AttentionSublayer::forward(Ctx& c, const Var& x, const Tensor& mask) const {
  return add(c, attention(c, matmul(c, norm_.forward(c, x), in_), mask, attention_), x);
}
Var AttentionSublayer::forward(Ctx& c, const Var& x, const Var& memory, const Tensor& mask) const {
  const Var q = matmul(c, norm_.forward(c, x), in_), kv = matmul(c, memory, memory_in_);
  return add(c, attention(c, q, kv, mask, attention_), x);
}

FeedForward::FeedForward(const Init& init, const TransformerLayerConfig& c)
    : norm_(transformer_norm(init, "inner_norm", c)),
      dropout_(c.dropout),
      inner_path_(dropout_path(init, "inner_dropout")),
      out_path_(dropout_path(init, "out_dropout")) {
  const int64_t d = c.width, inner = c.inner;
  expect_dropout(init, dropout_);
  widen_ = linear(init.scope("widen"), {inner, d}, {xavier(d, inner), fan_in(d)});
  widen_.act = Act::kRelu;
  narrow_ = linear(init.scope("narrow"), {d, inner}, {xavier(inner, d), fan_in(inner)});
  widen_.rule = declare_rule(init.scope("widen"), c.auxiliary.rule(2), d);
  narrow_.rule = declare_rule(init.scope("narrow"), c.auxiliary.rule(1, true), inner);
}

Var FeedForward::forward(Ctx& c, const Var& x) const {
  const Var wide = dropout(c, matmul(c, norm_.forward(c, x), widen_), dropout_, inner_path_);
  return dropout(c, matmul(c, wide, narrow_), x, dropout_, out_path_);
}

}  // namespace sluice
