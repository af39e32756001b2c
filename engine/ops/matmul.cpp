// The linear op: product, bias and activation in one call forward; backward goes through the activation first. All
// dimensions but the last are rows of one matrix: views, no copies.
#include "kernels/matmul.h"

#include "engine/launch.h"
#include "engine/ops.h"

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
      launch(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = d.ref(), .act = linear.act}, c.stream);
      dy = d;
      kept.reset();
    }
    dy = as_rows(dy);
    dz = Saved(dy, SaveKind::kDeferred, &c.ledger);
    if (!needs(0)) return {};
    const Weight w = c.weights.at(linear.weight);
    Tensor dx = c.empty(x.tensor().shape(), dy.dtype());
    launch(kernels::MatmulGradInput{.dz = dy.cref(), .w = w.ref, .dx = as_rows(dx).ref(), .w_version = w.version},
           c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot dw = c.arena.grad(linear.weight);
    const GradSlot db = linear.bias.index < 0 ? GradSlot{} : c.arena.grad(linear.bias);
    launch(kernels::MatmulGradWeight{.x = as_rows(x.tensor()).cref(),
                                     .dz = dz.cref(),
                                     .dw = dw.ref,
                                     .db = db.ref,
                                     .accumulate_w = dw.accumulate,
                                     .accumulate_b = db.accumulate},
           c.stream);
    x.reset();
    dz.reset();
  }
  Linear linear;
  Saved x, kept, dz;
};

}  // namespace

Var matmul(Ctx& c, const Var& x, const Linear& l) {
  const bool record = c.recording({x}, true);
  const bool split = record && keeps_input(l.act);  // backward wants what the activation was applied to
  const Weight w = c.weight(l.weight);
  Tensor y = c.empty(with_cols(x.shape(), l.weight.shape[0]), x.value.dtype());
  launch(kernels::Matmul{.x = as_rows(x.value).cref(),
                         .w = w.ref,
                         .bias = l.bias.index < 0 ? ConstRef{} : c.weight(l.bias).ref,
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
  f->x = c.save(SaveKind::kActivation, x.value);
  if (l.act != Act::kNone) f->kept = c.save(SaveKind::kActivation, kept);
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
