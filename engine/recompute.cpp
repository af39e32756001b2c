// The second run records on a tape of its own, which the two halves of the backward pass then walk.
#include "engine/recompute.h"

#include <cassert>

namespace sluice {
namespace {

struct RecomputeFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Ctx again{.stream = c.stream,
              .weights = c.weights,
              .arena = c.arena,
              .ledger = c.ledger,
              .tape = &tape,
              .rng = rng,
              .training = training,
              .replay = &replay};
    replay.again = true;
    std::vector<Var> leaves;
    for (size_t i = 0; i < in.size(); ++i)
      leaves.push_back(needs(int(i)) ? tape.leaf(in[i].tensor()) : Var{in[i].tensor()});
    const Var y = body(again, leaves);
    in.clear();
    replay.kept.clear();
    tape.backward_input({{y, std::move(dy)}}, c);
    GradList grads;
    for (size_t i = 0; i < leaves.size(); ++i) grads[i] = tape.take_grad(leaves[i]);
    return grads;
  }
  void backward_weight(BackwardCtx& c) override { tape.backward_weight(c); }

  RecomputedBody body;
  Rng rng;
  bool training = true;
  Replay replay;
  std::vector<Saved> in;
  Tape tape;
};

}  // namespace

Var recompute(Ctx& c, const std::vector<Var>& in, const RecomputedBody& body) {
  assert(!in.empty() && in.size() <= kMostInputs);
  if (c.tape == nullptr || c.replay != nullptr) return body(c, in);  // within another such part: as the rest of it
  auto f = std::make_unique<RecomputeFn>();
  f->body = body;
  f->rng = c.rng;
  f->training = c.training;
  Ctx first = c;
  first.tape = nullptr;
  first.replay = &f->replay;
  const Tensor y = body(first, in).value;
  for (const Var& v : in) f->in.push_back(c.save(SaveKind::kActivation, v.value));
  return c.tape->record(std::move(f), y, in, true);
}

}  // namespace sluice
