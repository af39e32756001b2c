// Drives the stages by hand: the executor's order on one device, with a look at the ledger in the middle.
#include "bench/network_step.h"

#include <algorithm>

#include "optim/sgd.h"

namespace sluice::bench {

NetworkStep::NetworkStep(Stream stream, std::vector<StageNet> nets, std::vector<Tensor> feed)
    : stream_(std::move(stream)), nets_(std::move(nets)), feed_(std::move(feed)) {
  for (const StageNet& n : nets_) {
    arenas_.push_back(std::make_unique<Arena>(stream_, n.init, 1));
    optimizers_.push_back(std::make_unique<Sgd>(SgdOptions{.momentum = 0.9f}));
  }
}

Bundle NetworkStep::forward_stage(size_t i, const Bundle& from) {
  Flight& f = *flights_.emplace_back(std::make_unique<Flight>());
  const bool first = i == 0, last = i + 1 == nets_.size();
  const std::vector<Port> ports = nets_[i].body->in_ports();
  for (size_t k = 0; k < ports.size(); ++k)
    f.in.push_back(ports[k].differentiable ? f.tape.leaf(from[k].value) : Var{from[k].value});
  Bundle feed;
  const size_t read = nets_[i].body->feed_ports().size();
  for (size_t k = first ? 0 : feed_.size() - read; k < (first ? read : feed_.size()); ++k) feed.push_back({feed_[k]});
  Ctx c{.stream = stream_,
        .weights = arenas_[i]->weights(),
        .arena = *arenas_[i],
        .ledger = ledger_,
        .tape = &f.tape,
        .rng = {.seed = 1, .sample_base = step_},
        .training = true};
  StageOutput out = nets_[i].body->forward(c, feed, f.in, 1.0f);
  f.out = last ? out.losses : out.out;
  Bundle values = f.out;
  for (Var& v : f.in) v.value = {};
  for (Var& v : f.out) v.value = {};
  return values;
}

void NetworkStep::backward_stage(size_t i, Bundle& from) {
  Flight& f = *flights_[i];
  BackwardCtx c{.stream = stream_, .weights = arenas_[i]->weights(), .arena = *arenas_[i], .ledger = ledger_};
  std::vector<Root> roots;
  for (size_t k = 0; k < f.out.size(); ++k)
    if (f.out[k].node >= 0 && (from.empty() || from[k].value.defined()))
      roots.push_back({f.out[k], from.empty() ? Tensor() : std::move(from[k].value)});
  f.tape.backward(roots, c);
  from.clear();
  for (const Var& in : f.in) from.push_back({f.tape.take_grad(in)});
}

StepBytes NetworkStep::run() {
  Pool& pool = stream_.pool();
  const auto fixed = [&] {
    int64_t bytes = 0;
    for (const MemoryTag t : {MemoryTag::kWeights, MemoryTag::kGrads, MemoryTag::kOptimizer}) bytes += pool.in_use(t);
    return bytes;
  };
  pool.reset_peak();
  StepBytes bytes;
  Bundle values;
  for (size_t i = 0; i < nets_.size(); ++i) {
    const int64_t before = ledger_.bytes();
    values = forward_stage(i, values);
    bytes.by_stage.push_back(ledger_.bytes() - before);
  }
  bytes.stored = ledger_.bytes();
  for (size_t k = 0; k < bytes.by_kind.size(); ++k) bytes.by_kind[k] = ledger_.bytes(SaveKind(k));
  values.clear();
  for (size_t i = nets_.size(); i-- > 0; flights_.pop_back()) backward_stage(i, values);
  bytes.peak = pool.peak() - fixed();
  for (size_t i = 0; i < nets_.size(); ++i)
    optimizers_[i]->step(*arenas_[i], stream_, {.step = step_, .groups = {{.lr = 1e-4f}, {.lr = 1e-4f}}});
  ++step_;
  return bytes;
}

}  // namespace sluice::bench
