// The linear op: product, bias and activation in one call forward; backward goes through the activation first. All
// dimensions but the last are rows of one matrix: views, no copies. The weight gradient follows the layer's rule.
#include "kernels/matmul.h"

#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/add_sign.h"
#include "kernels/auxiliary_bias.h"
#include "kernels/learning_indicator.h"
#include "kernels/packed_relu.h"
#include "kernels/quantize.h"
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
        dequantize(c);
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
  /// x from its 8 bits.
  void dequantize(BackwardCtx& c) {
    const Tensor whole = c.empty(input, dz.tensor().dtype(), MemoryTag::kWorkspace);
    launch(kernels::Dequantize{.q = x.cref(), .ranges = ranges.cref(), .y = whole.ref()}, c.stream);
    x = Saved(whole, SaveKind::kDeferred, &c.ledger);
    ranges.reset();
  }
  Linear linear;
  Shape input;
  Saved x, ranges, kept, dz;  // x: the input, or its packed signs, or nothing; kept: for the activation, bits for ReLU
};

/// x + epsilon sign(x), and the signs where they are wanted.
struct Signed {
  Tensor value, bits;
};
Signed add_sign(const Ctx& c, const Tensor& x, const WeightRule& rule, bool keep) {
  Signed s{c.empty(x.shape(), x.dtype()), {}};
  if (keep) s.bits = c.empty({packed_bytes(x.shape().numel())}, DType::kU8);
  launch(kernels::AddSign{.x = x.cref(),
                          .y = s.value.ref(),
                          .bits = s.bits.ref(),
                          .epsilon = rule.epsilon,
                          .of_zero = rule.after_relu || rule.faithful ? 0.0f : -1.0f},
         c.stream);
  return s;
}

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

/// The layer's learning indicators, one a row; layers side by side with a vector each have them one after the other.
void indicate(Ctx& c, const Tensor& x, const WeightRule& rule) {
  if (c.indicators == nullptr || (rule.from != Auxiliary::kSign && rule.from != Auxiliary::kBias)) return;
  const bool vectors = rule.from == Auxiliary::kBias;
  const int64_t groups = vectors && rule.auxiliary.shape.rank() == 2 ? rule.auxiliary.shape[0] : 1;
  for (int64_t g = 0; g < groups; ++g) {
    ConstRef vector;
    if (vectors) {
      vector = c.weight(rule.auxiliary).ref;
      vector.shape = {x.shape().cols()};
      vector.data = vector.as<float>() + g * x.shape().cols();
    }
    c.indicators->push_back(c.empty({x.shape().rows()}));
    launch(kernels::LearningIndicator{.x = x.cref(),
                                      .vector = vector,
                                      .y = c.indicators->back().ref(),
                                      .epsilon = rule.epsilon,
                                      .of_zero = rule.after_relu || rule.faithful ? 0.0f : -1.0f},
           c.stream);
  }
}

}  // namespace

Var matmul(Ctx& c, const Var& x, const Linear& l) {
  const bool record = c.recording({x}, true);
  const bool split = record && keeps_input(l.act);  // backward wants what the activation was applied to
  const Weight w = c.weight(l.weight);
  ConstRef bias = l.bias.index < 0 ? ConstRef{} : c.weight(l.bias).ref;
  indicate(c, x.value, l.rule);
  Signed in{x.value, {}};
  if (l.rule.from == Auxiliary::kSign) in = add_sign(c, x.value, l.rule, record);
  Tensor shifted;
  if (l.rule.from == Auxiliary::kBias) bias = (shifted = auxiliary_bias(c, l, bias)).cref();
  Tensor y = c.empty(with_cols(x.shape(), l.weight.shape[0]), x.value.dtype());
  launch(kernels::Matmul{.x = as_rows(in.value).cref(),
                         .w = w.ref,
                         .bias = bias,
                         .y = as_rows(y).ref(),
                         .act = split ? Act::kNone : l.act,
                         .w_version = w.version},
         c.stream);
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
  if (l.rule.from == Auxiliary::kSign) f->x = c.save(SaveKind::kBits, in.bits);
  if (l.rule.from == Auxiliary::kEightBits) {
    f->x = c.save(SaveKind::kActivation, c.empty({x.shape().numel()}, DType::kU8));
    f->ranges = c.save(SaveKind::kStats, c.empty({kernels::quant_groups(x.shape().numel()), 2}));
    launch(kernels::Quantize{.x = x.value.cref(), .q = f->x.tensor().ref(), .ranges = f->ranges.tensor().ref()},
           c.stream);
  }
  if (l.act == Act::kRelu)
    f->kept = c.save(SaveKind::kBits, positive_bits(c, y));
  else if (l.act != Act::kNone)
    f->kept = c.save(SaveKind::kActivation, kept);
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
