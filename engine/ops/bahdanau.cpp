// Additive attention: keeps what it reads and the weights. The parameters' gradients come out of the input half's pass
// and wait, two numbers a column, for the weight half.
#include "kernels/bahdanau.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct BahdanauFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const auto like = [&](const Saved& s) { return c.empty(s.tensor().shape(), dy.dtype()); };
    const Tensor dq = like(q), dk = like(keys), dmemory = like(memory);
    const Tensor sum = c.empty({2, q.tensor().shape().cols()});
    launch(kernels::BahdanauGrad{.q = q.cref(),
                                 .k = keys.cref(),
                                 .memory = memory.cref(),
                                 .mask = mask.cref(),
                                 .v = c.weights.at(params.v).ref,
                                 .scale = c.weights.at(params.scale).ref,
                                 .b = c.weights.at(params.b).ref,
                                 .weights = weights.cref(),
                                 .dy = dy.cref(),
                                 .dq = dq.ref(),
                                 .dk = dk.ref(),
                                 .dmemory = dmemory.ref(),
                                 .sums = sum.ref()},
           c.stream);
    sums = Saved(sum, SaveKind::kDeferred, &c.ledger);
    for (Saved* s : {&q, &keys, &memory, &mask, &weights}) s->reset();
    return {dq, dk, dmemory};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot dv = c.arena.grad(params.v), dscale = c.arena.grad(params.scale), db = c.arena.grad(params.b);
    launch(kernels::BahdanauGradParams{.sums = sums.cref(),
                                       .v = c.weights.at(params.v).ref,
                                       .scale = c.weights.at(params.scale).ref,
                                       .dv = dv.ref,
                                       .dscale = dscale.ref,
                                       .db = db.ref,
                                       .accumulate_v = dv.accumulate,
                                       .accumulate_scale = dscale.accumulate,
                                       .accumulate_b = db.accumulate},
           c.stream);
    sums.reset();
  }
  BahdanauParams params;
  Saved q, keys, memory, mask, weights, sums;
};

}  // namespace

Var bahdanau_attention(Ctx& c, const Var& q, const Var& keys, const Var& memory, const Tensor& mask,
                       const BahdanauParams& p) {
  expect_rank("bahdanau_attention", "q", q.shape(), 3);
  expect_rank("bahdanau_attention", "memory", memory.shape(), 3);
  const int64_t queries = q.shape()[0], samples = q.shape()[1];
  const Tensor y = c.empty({queries, samples, memory.shape()[2]}, q.value.dtype());
  const Tensor weights = c.empty({queries, samples, memory.shape()[0]});
  launch(kernels::Bahdanau{.q = q.value.cref(),
                           .k = keys.value.cref(),
                           .memory = memory.value.cref(),
                           .mask = mask.cref(),
                           .v = c.weight(p.v).ref,
                           .scale = c.weight(p.scale).ref,
                           .b = c.weight(p.b).ref,
                           .y = y.ref(),
                           .weights = weights.ref()},
         c.stream);
  if (c.attention != nullptr) c.attention->push_back(weights);
  if (!c.recording({q, keys, memory}, true)) return {y};
  auto f = std::make_unique<BahdanauFn>();
  f->params = p;
  f->q = c.save(SaveKind::kActivation, q.value);
  f->keys = c.save(SaveKind::kActivation, keys.value);
  f->memory = c.save(SaveKind::kActivation, memory.value);
  if (mask.defined()) f->mask = c.save(SaveKind::kMask, mask);
  f->weights = c.save(SaveKind::kActivation, weights);
  return c.tape->record(std::move(f), y, {q, keys, memory}, true);
}

}  // namespace sluice
