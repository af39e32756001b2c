// Layer norm: keeps x and two numbers a row. The parameters' gradients come out of the input half's pass and wait, two
// numbers a column, for the weight half.
#include "kernels/layer_norm.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct LayerNormFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx;
    if (needs(0)) dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    const Tensor sum = c.empty({2, dy.shape().cols()});
    launch(kernels::LayerNormGrad{.x = x.cref(),
                                  .dy = dy.cref(),
                                  .gamma = c.weights.at(params.gamma).ref,
                                  .stats = stats.cref(),
                                  .dx = dx.ref(),
                                  .sums = sum.ref(),
                                  .eps = params.eps,
                                  .form = params.form},
           c.stream);
    sums = Saved(sum, SaveKind::kDeferred, &c.ledger);
    x.reset();
    stats.reset();
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot dgamma = c.arena.grad(params.gamma), dbeta = c.arena.grad(params.beta);
    launch(kernels::LayerNormGradParams{.sums = sums.cref(),
                                        .dgamma = dgamma.ref,
                                        .dbeta = dbeta.ref,
                                        .accumulate_gamma = dgamma.accumulate,
                                        .accumulate_beta = dbeta.accumulate},
           c.stream);
    sums.reset();
  }
  LayerNormParams params;
  Saved x, stats, sums;
};

}  // namespace

Var layer_norm(Ctx& c, const Var& x, const LayerNormParams& p) {
  const bool record = c.recording({x}, true);
  const Tensor y = c.empty(x.shape(), x.value.dtype()), stats = record ? c.empty({x.shape().rows(), 2}) : Tensor();
  launch(kernels::LayerNorm{.x = x.value.cref(),
                            .gamma = c.weight(p.gamma).ref,
                            .beta = c.weight(p.beta).ref,
                            .y = y.ref(),
                            .stats = stats.ref(),
                            .eps = p.eps,
                            .form = p.form},
         c.stream);
  if (!record) return {y};
  auto f = std::make_unique<LayerNormFn>();
  f->params = p;
  f->x = c.save(SaveKind::kActivation, x.value);
  f->stats = c.save(SaveKind::kStats, stats);
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
