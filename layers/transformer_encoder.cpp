// Declares a block's parameters in the order in which they are used.
#include "layers/transformer_encoder.h"

#include <cmath>

#include "layers/checks.h"

namespace sluice {
namespace {

constexpr float kEps = 1e-6f;  // added to the deviation

LayerNorm norm(const Init& init, const char* name, int64_t width) {
  return {init.scope(name), width, LayerNormForm::kUnbiasedStd, kEps};
}
/// Glorot and Bengio 2010.
InitialValue xavier(int64_t in, int64_t out) { return InitialValue::uniform(std::sqrt(6.0f / float(in + out))); }
InitialValue fan_in(int64_t in) { return InitialValue::uniform(1.0f / std::sqrt(float(in))); }

Linear linear(Init init, Shape weight, InitialValue start, InitialValue bias_start) {
  Linear l;
  l.weight = init.param("weight", weight, start);
  l.bias = init.param("bias", {weight[0]}, bias_start);
  return l;
}

}  // namespace

TransformerEncoder::TransformerEncoder(const Init& init, const EncoderConfig& config)
    : attention_norm_(norm(init, "attention_norm", config.width)),
      inner_norm_(norm(init, "inner_norm", config.width)),
      dropout_(config.dropout),
      attention_path_(dropout_path(init, "attention_dropout")),
      inner_path_(dropout_path(init, "inner_dropout")),
      out_path_(dropout_path(init, "out_dropout")) {
  const int64_t d = config.width, inner = config.inner;
  expect_heads(init, d, config.heads);
  expect_dropout(init, dropout_);
  const InitialValue clone =
      InitialValue::clones(1.0f / std::sqrt(float(d)), path_hash(init.scope("projection_bias").path()), d);
  qkv_ = linear(init.scope("qkv"), {3 * d, d}, xavier(d, d), clone);
  out_ = linear(init.scope("out"), {d, d}, xavier(d, d), clone);
  widen_ = linear(init.scope("widen"), {inner, d}, xavier(d, inner), fan_in(d));
  widen_.act = Act::kRelu;
  narrow_ = linear(init.scope("narrow"), {d, inner}, xavier(inner, d), fan_in(inner));
  const AuxiliaryCoverage& a = config.auxiliary;
  qkv_.rule = declare_rule(init.scope("qkv"), a.rule(4), d, 3);
  out_.rule = declare_rule(init.scope("out"), a.rule(3), d);
  widen_.rule = declare_rule(init.scope("widen"), a.rule(2), d);
  narrow_.rule = declare_rule(init.scope("narrow"), a.rule(1, true), inner);
  if (config.final_norm) final_norm_ = norm(init, "final_norm", d);
  attention_ = {.heads = config.heads,
                .dropout = config.dropout,
                .path = dropout_path(init, "probabilities"),
                .recompute = config.recompute};
}

Var TransformerEncoder::forward(Ctx& c, const Var& x, const Tensor& mask) const {
  const Var heads = attention(c, matmul(c, attention_norm_.forward(c, x), qkv_), mask, attention_);
  const Var y = dropout(c, matmul(c, heads, out_), x, dropout_, attention_path_);
  const Var wide = dropout(c, matmul(c, inner_norm_.forward(c, y), widen_), dropout_, inner_path_);
  const Var z = dropout(c, matmul(c, wide, narrow_), y, dropout_, out_path_);
  return final_norm_ ? final_norm_->forward(c, z) : z;
}

}  // namespace sluice
