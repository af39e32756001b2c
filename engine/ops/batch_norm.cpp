// Batch norm: two passes over memory forward, two backward. The parameters' gradients come out of the first backward
// pass and wait, two numbers a channel, for the weight half.
#include "kernels/batch_norm.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

using kernels::BatchNormMask;

struct BatchNormFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor sum = c.empty({2, stats.tensor().dim(1)});
    const bool store = mask == BatchNormMask::kFromBits;  // without ReLU the residual's gradient is dy itself
    Tensor dz;
    if (store) dz = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::BatchNormGradSums{.x = x.cref(),
                                      .dy = dy.cref(),
                                      .bits = bits.cref(),
                                      .stats = stats.cref(),
                                      .sums = sum.ref(),
                                      .dresidual = dz.ref(),
                                      .mask = mask},
           c.stream);
    sums = Saved(sum, SaveKind::kDeferred, &c.ledger);
    if (store) {  // from here on the masked gradient
      dy = std::move(dz);
      mask = BatchNormMask::kNone;
      bits.reset();
    }
    const Tensor dresidual = needs(1) ? dy : Tensor();
    Tensor dx;
    if (needs(0)) {
      dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
      launch(kernels::BatchNormGradInput{.x = x.cref(),
                                         .dy = dy.cref(),
                                         .stats = stats.cref(),
                                         .gamma = c.weights.at(params.gamma).ref,
                                         .sums = sum.cref(),
                                         .dx = dx.ref(),
                                         .mask = mask,
                                         .training = training},
             c.stream);
    }
    x.reset();
    return {dx, dresidual};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot dgamma = c.arena.grad(params.gamma), dbeta = c.arena.grad(params.beta);
    launch(kernels::BatchNormGradParams{.sums = sums.cref(),
                                        .stats = stats.cref(),
                                        .dgamma = dgamma.ref,
                                        .dbeta = dbeta.ref,
                                        .accumulate_gamma = dgamma.accumulate,
                                        .accumulate_beta = dbeta.accumulate},
           c.stream);
    sums.reset();
    stats.reset();
  }
  BatchNormParams params;
  BatchNormMask mask = BatchNormMask::kNone;
  bool training = true;
  Saved x, bits, stats, sums;
};

Tensor statistics(Ctx& c, const Tensor& x, const BatchNormParams& p) {
  if (c.training && c.replay != nullptr && c.replay->again) return c.replay->kept.at(c.replay->next++).tensor();
  Tensor stats = c.empty({4, x.shape().cols()});
  const ConstRef gamma = c.weight(p.gamma).ref, beta = c.weight(p.beta).ref;
  const Tensor mean = c.arena.buffer(p.running_mean), var = c.arena.buffer(p.running_var);
  if (c.training)
    launch(kernels::BatchNormStatistics{.x = x.cref(),
                                        .gamma = gamma,
                                        .beta = beta,
                                        .stats = stats.ref(),
                                        .running_mean = mean.ref(),
                                        .running_var = var.ref(),
                                        .eps = p.eps,
                                        .momentum = p.momentum},
           c.stream);
  else
    launch(kernels::BatchNormRunning{.gamma = gamma,
                                     .beta = beta,
                                     .running_mean = mean.cref(),
                                     .running_var = var.cref(),
                                     .stats = stats.ref(),
                                     .eps = p.eps},
           c.stream);
  if (c.training && c.replay != nullptr) c.replay->kept.push_back(c.save(SaveKind::kStats, stats));
  return stats;
}

}  // namespace

Var batch_norm(Ctx& c, const Var& x, const BatchNormParams& p, bool relu) { return batch_norm(c, x, Var{}, p, relu); }

Var batch_norm(Ctx& c, const Var& x, const Var& residual, const BatchNormParams& p, bool relu) {
  const Tensor stats = statistics(c, x.value, p);
  const bool record = c.recording({x, residual}, true), packs = record && relu && residual.value.defined();
  Tensor y = c.empty(x.shape(), x.value.dtype());
  const Tensor bits = packs ? c.empty({packed_bytes(x.shape().numel())}, DType::kU8) : Tensor();
  launch(kernels::BatchNormApply{.x = x.value.cref(),
                                 .stats = stats.cref(),
                                 .residual = residual.value.cref(),
                                 .y = y.ref(),
                                 .bits = bits.ref(),
                                 .relu = relu},
         c.stream);
  if (!record) return {y};
  auto f = std::make_unique<BatchNormFn>();
  f->params = p;
  f->training = c.training;
  f->x = c.save(SaveKind::kActivation, x.value);
  f->stats = c.save(SaveKind::kStats, stats);
  if (relu) f->mask = packs ? BatchNormMask::kFromBits : BatchNormMask::kFromInput;
  if (packs) f->bits = c.save(SaveKind::kBits, bits);
  return c.tape->record(std::move(f), y, {x, residual}, true);
}

}  // namespace sluice
