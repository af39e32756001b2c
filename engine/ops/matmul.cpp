// The linear op: product, bias and activation in one call forward; backward goes through the activation first. All
// dimensions but the last are rows of one matrix: views, no copies. The weight gradient follows the layer's rule.
#include "kernels/matmul.h"

#include "engine/launch.h"
#include "engine/ops/weight_rule.h"
#include "kernels/auxiliary_bias.h"
#include "kernels/packed_relu.h"
#include "kernels/sign_grad_weight.h"

namespace sluice {
namespace {

/// The same elements as a matrix.
Tensor as_rows(const Tensor& t) { return t.shape().rank() <= 2 ? t : t.reshape({t.shape().rows(), t.shape().cols()}); }
/// `s` with another last dimension.
Shape with_cols(const Shape& s, int64_t cols) {
  Shape out;
  for (int i = 0; i + 1 < s.rank(); ++i) out.push_back(s[i]);
  out.push_back(cols);
  return out;
}

struct MatmulFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    if (linear.act != Act::kNone) {
      const Tensor d = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
      if (linear.act == Act::kRelu)
        launch(kernels::PackedReluGrad{.bits = kept.cref(), .dy = dy.cref(), .dx = d.ref()}, c.stream);
      else
        launch(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = d.ref(), .act = linear.act},
               c.stream);
      dy = d;
      kept.reset();
    }
    dy = as_rows(dy);
    dz = Saved(dy, SaveKind::kDeferred, &c.ledger);
    if (!needs(0)) return {};
    const Weight w = c.weights.at(linear.weight);
    Tensor dx = c.empty(input, dy.dtype());
    launch(kernels::MatmulGradInput{.dz = dy.cref(), .w = w.ref, .dx = as_rows(dx).ref(), .w_version = w.version},
           c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const ConstRef delta = dz.tensor().cref();
    const GradSlot dw = c.arena.grad(linear.weight);
    const GradSlot db = linear.bias.index < 0 ? GradSlot{} : c.arena.grad(linear.bias);
    switch (linear.rule.from) {
      case Auxiliary::kEightBits:
        x = eight_bits.whole(c, input, delta.dtype);
        [[fallthrough]];
      case Auxiliary::kNone:
        launch(kernels::MatmulGradWeight{.x = as_rows(x.tensor()).cref(),
                                         .dz = delta,
                                         .dw = dw.ref,
                                         .db = db.ref,
                                         .accumulate_w = dw.accumulate,
                                         .accumulate_b = db.accumulate},
               c.stream);
        break;
      case Auxiliary::kSign:
        launch(kernels::SignGradWeight{.bits = x.tensor().cref(),
                                       .dz = delta,
                                       .dw = dw.ref,
                                       .db = db.ref,
                                       .scale = linear.rule.scale * linear.rule.epsilon,
                                       .zero = linear.rule.after_relu ? 0.0f : -1.0f,
                                       .accumulate_w = dw.accumulate,
                                       .accumulate_b = db.accumulate},
               c.stream);
        break;
      case Auxiliary::kBias: {
        const GradSlot da = c.arena.grad(linear.rule.auxiliary);
        launch(kernels::AuxiliaryBiasGrad{.dz = delta,
                                          .w = c.weights.at(linear.weight).ref,
                                          .a = c.weights.at(linear.rule.auxiliary).ref,
                                          .dw = dw.ref,
                                          .db = db.ref,
                                          .da = da.ref,
                                          .scale = linear.rule.scale,
                                          .accumulate_w = dw.accumulate,
                                          .accumulate_b = db.accumulate,
                                          .accumulate_a = da.accumulate},
               c.stream);
        break;
      }
    }
    x.reset();
    dz.reset();
  }
  Linear linear;
  Shape input;
  Saved x, kept, dz;  // x: the input, or its packed signs, or nothing; kept: for the activation, bits for ReLU
  EightBits eight_bits;
};

/// A bit for each element, y > 0.
Tensor positive_bits(const Ctx& c, const Tensor& y) {
  Tensor bits = c.empty({packed_bytes(y.shape().numel())}, DType::kU8);
  launch(kernels::PackedRelu{.x = y.cref(), .bits = bits.ref()}, c.stream);
  return bits;
}

/// The bias of a layer whose input a learned vector is added to.
Tensor auxiliary_bias(const Ctx& c, const Linear& l, const ConstRef& bias) {
  Tensor y = c.empty({l.weight.shape[0]});
  launch(
      kernels::AuxiliaryBias{
          .w = c.weight(l.weight).ref, .a = c.weight(l.rule.auxiliary).ref, .bias = bias, .y = y.ref()},
      c.stream);
  return y;
}

/// The learning indicators of the layer's rows; layers side by side with a vector each have them one after the other.
void indicate_rows(Ctx& c, const Tensor& x, const WeightRule& rule) {
  const int64_t rows = x.shape().rows(), in = x.shape().cols();
  if (rule.from != Auxiliary::kBias) return indicate(c, x, rule, rows, {});
  const ConstRef vectors = c.weight(rule.auxiliary).ref;
  for (int64_t g = 0; g * in < vectors.numel(); ++g)
    indicate(c, x, rule, rows, {.vector = {{vectors.as<float>() + g * in, {in}, DType::kF32}}});
}

/// Rows of x + a that are made at a time. A product soon after finds them near, and the whole is never in memory: a
/// step of MLP-Mixer with asa4 takes 2 % less (batch 16, one core, 61 paired rounds). Weights that do not stay near
/// would be read again for each piece.
int64_t rows_at_once(const Ctx& c, const Tensor& x, int64_t outputs) {
  const int64_t row = x.shape().cols() * size_of(x.dtype()), near = c.stream.device().near_bytes();
  if (outputs * row > 4 * near) return x.shape()[0];
  return std::max<int64_t>(8, near / std::max<int64_t>(1, row) / 8 * 8);  // their bits are whole bytes
}

/// `product` of x + epsilon sign(x). Gives the packed signs, where they are wanted.
Tensor sign_product(const Ctx& c, const Tensor& x, const WeightRule& rule, kernels::Matmul product, const Tensor& y,
                    bool wanted) {
  const int64_t rows = x.shape()[0], cols = x.shape()[1];
  const int64_t piece = std::min(rows, rows_at_once(c, x, y.shape()[1]));
  const Tensor bits = wanted ? c.empty({packed_bytes(x.numel())}, DType::kU8) : Tensor();
  const Tensor sums = c.empty({piece, cols}, x.dtype());
  for (int64_t first = 0; first < rows; first += piece) {
    const int64_t count = std::min(piece, rows - first);
    const Tensor some = sums.rows(0, count);
    add_sign(c, x.rows(first, count), rule, some,
             wanted ? bits.rows(first * cols / 8, packed_bytes(count * cols)) : Tensor());
    product.x = some.cref();
    product.y = y.rows(first, count).ref();
    launch(product, c.stream);
  }
  return bits;
}

}  // namespace

Var matmul(Ctx& c, const Var& x, const Linear& l) {
  const bool record = c.recording({x}, true);
  const bool split = record && keeps_input(l.act);  // backward wants what the activation was applied to
  const Weight w = c.weight(l.weight);
  ConstRef bias = l.bias.index < 0 ? ConstRef{} : c.weight(l.bias).ref;
  indicate_rows(c, x.value, l.rule);
  Tensor shifted, signs;
  if (l.rule.from == Auxiliary::kBias) bias = (shifted = auxiliary_bias(c, l, bias)).cref();
  Tensor y = c.empty(with_cols(x.shape(), l.weight.shape[0]), x.value.dtype());
  const kernels::Matmul product{.x = as_rows(x.value).cref(),
                                .w = w.ref,
                                .bias = bias,
                                .y = as_rows(y).ref(),
                                .act = split ? Act::kNone : l.act,
                                .w_version = w.version};
  if (l.rule.from == Auxiliary::kSign)
    signs = sign_product(c, as_rows(x.value), l.rule, product, as_rows(y), record && !x.positive.defined());
  else
    launch(product, c.stream);
  Tensor kept = y;
  if (split) {
    y = c.empty(y.shape(), y.dtype());
    launch(kernels::Activation{.x = kept.cref(), .y = y.ref(), .act = l.act}, c.stream);
  }
  if (!record) return {y};
  auto f = std::make_unique<MatmulFn>();
  f->linear = l;
  f->input = x.shape();
  if (l.rule.from == Auxiliary::kNone) f->x = c.save(SaveKind::kActivation, x.value);
  if (l.rule.from == Auxiliary::kSign) f->x = c.save(SaveKind::kBits, x.positive.defined() ? x.positive : signs);
  if (l.rule.from == Auxiliary::kEightBits) f->eight_bits = EightBits(c, x.value);
  Tensor positive;
  if (l.act == Act::kRelu)
    f->kept = c.save(SaveKind::kBits, positive = positive_bits(c, y));
  else if (l.act != Act::kNone)
    f->kept = c.save(SaveKind::kActivation, kept);
  Var out = c.tape->record(std::move(f), y, {x}, true);
  out.positive = std::move(positive);
  return out;
}

}  // namespace sluice
