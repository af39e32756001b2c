// What each action does.
#include "pipeline/worker.h"

#include <algorithm>

#include "engine/error.h"
#include "engine/ops.h"
#include "pipeline/trace.h"

namespace sluice {
namespace {

int64_t bytes_of(const Parcel& parcel) {
  int64_t bytes = 0;
  for (const Tensor& t : parcel.values) bytes += t.defined() ? t.bytes() : 0;
  return bytes;
}

/// For another stage of this worker that would else hold a channel's slot of this one, longer than the plan allows.
Tensor own_copy(const Stream& s, const Tensor& t) {
  const Tensor own = Tensor::empty(s, t.shape(), t.dtype());
  copy(s, t, own);
  return own;
}

}  // namespace

Worker::Worker(RunState& run, int index) : run_(run), index_(index) {
  for (int s = 0; s < int(run.pipeline.stages.size()); ++s)
    if (is_mine(s))
      own_.emplace(s,
                   Own{StepLog(instances().stage(s), instances().count(s, int(mbs_per_step())), run.options.run_ahead,
                               [this, s](const StepLosses& losses) { run_.report(s, losses); })});
}

void Worker::run() {
  const Program& program = run_.pipeline.plan[size_t(index_)];
  const int64_t outside = mbs_outside_period(program);
  // A run may be shorter than prologue and epilogue; a stop never cuts into them.
  const auto play = [&](const std::vector<Action>& part, int64_t by) {
    for (const Action& a : part)
      if (a.mb + by < run_.mbs()) step(shifted(a, by));
  };
  play(program.prologue, 0);
  int64_t by = 0;
  for (; run_.begin_period(outside + by + program.mbs_per_period); by += program.mbs_per_period)
    for (const Action& a : program.period) step(shifted(a, by));
  play(program.epilogue, by);
  drain();
}

void Worker::drain() {
  for (auto& entry : own_) entry.second.log.drain();
}

void Worker::add_sent(std::vector<Sent>& to) const {
  for (const auto& entry : sent_) to.push_back(entry.second);
}

void Worker::step(const Action& a) {
  if (run_.options.on_action) run_.options.on_action(index_, a, stage(a));
  if (run_.options.trace == nullptr) return interpret(a);
  const Event begin = stage(a).stream.record();
  interpret(a);
  run_.options.trace->add({index_, a, begin, stage(a).stream.record()});
}

void Worker::interpret(const Action& a) {
  const Stream& stream = stage(a).stream;
  switch (a.what) {
    case Do::kForward:
      return forward(a);
    case Do::kRecompute:
      return recompute(a);
    case Do::kBackward:
    case Do::kBackwardInput:
      return backward(a);
    case Do::kBackwardWeight:
      return backward_weight(a);
    case Do::kReduceGrad:
      return reduce(a);
    case Do::kUpdate:
      return update(a);
    case Do::kSend: {
      const Parcel parcel = instances().are_replicas(a.stage, a.peer)
                                ? weight_gradients(a.stage)
                                : std::move(outbox_.extract({a.stage, a.peer, a.mb, a.view}).mapped());
      Sent& sent = sent_[{a.stage, a.peer}];
      sent = {a.stage, a.peer, sent.parcels + 1, sent.bytes + bytes_of(parcel)};
      return run_.net.send(a, parcel, stream);
    }
    case Do::kRecv:
      inbox_[{a.peer, a.stage, a.mb, a.view}] = run_.net.recv(a, stream);
      return;
    case Do::kArrive:
      return run_.arrive(index_, stream, norm_exchange() ? norm_exchange()->squares(stream) : Tensor());
    case Do::kAwait:
      return meet(a);
  }
}

void Worker::forward(const Action& a) {
  Stage& s = stage(a);
  Flight& f = live_[key(a)];
  const std::vector<Var> feed = fed(a), in = inputs(a, f);
  const bool trains = s.mode == StageMode::kTrain, again = trains && run_.pipeline.report.recomputed[size_t(a.stage)];
  own_.at(a.stage).next_forward = a.mb + 1;
  if (s.mode == StageMode::kIdle) {
    hand_on(a, {.out = Bundle(s.body->out_ports().size()), .losses = {}}, f);
    return;
  }
  f.read = rule().forward(pass_at(a.mb, s.versions.updates()));
  Ctx ctx = context(a, f);
  ctx.weights = read(a, Pass::kForward, f.read);
  ctx.tape = trains && !again ? &f.tape : nullptr;
  ctx.replay = again ? &f.replay : nullptr;
  ctx.training = trains;
  ctx.indicators = trains && mb_of_training(a) == s.indicators.mb ? &s.indicators.values : nullptr;
  if (again)
    for (const std::vector<Var>* values : {&in, &feed})
      for (const Var& v : *values) f.kept.push_back(ctx.save(SaveKind::kActivation, v.value));
  StageOutput out = s.body->forward(ctx, feed, in, 1.0f / float(mbs_per_step()));
  hand_on(a, out, f);
  for (Var& v : f.in) v.value = {};
  for (const Var& v : out.out) f.out.push_back({{}, v.node});
  if (!trains) return;
  for (const Var& loss : out.losses) flag_non_finite(s.stream, loss.value, s.finite);
  const int64_t mb = mb_of_training(a), place = instances().place(a.stage, a.mb % mbs_per_step());
  own_.at(a.stage).log.add(s.stream, mb / mbs_per_step(), place, out.losses);
  f.losses = std::move(out.losses);
}

/// Forward again, on the tape this time. What it gives was handed on by forward.
void Worker::recompute(const Action& a) {
  Stage& s = stage(a);
  if (s.mode != StageMode::kTrain) return;
  Flight& f = live_.at(key(a));
  const bool as_forward = run_.pipeline.wiring.recompute == Pass::kForward;
  Ctx ctx = context(a, f);
  ctx.weights = as_forward ? read(a, Pass::kForward, f.read)
                           : read(a, Pass::kBackward, rule().backward(pass_at(a.mb, s.versions.updates(), f.read)));
  ctx.tape = &f.tape;
  ctx.replay = &f.replay;
  f.replay.again = true;
  std::vector<Var> in = f.in, feed;
  for (size_t i = 0; i < f.kept.size(); ++i)
    if (i < in.size())
      in[i].value = f.kept[i].tensor();
    else
      feed.push_back({f.kept[i].tensor()});
  f.kept.clear();  // from here on the tape keeps what it needs
  StageOutput out = s.body->forward(ctx, feed, in, 1.0f / float(mbs_per_step()));
  f.replay.kept.clear();
  f.out.clear();
  for (const Var& v : out.out) f.out.push_back({{}, v.node});
  f.losses = std::move(out.losses);
}

int64_t Worker::mb_of_training(const Action& a) const { return run_.options.first_step * mbs_per_step() + a.mb; }

/// Of a forward or its recomputation: they draw the same numbers.
Ctx Worker::context(const Action& a, Flight& f) const {
  Stage& s = stage(a);
  return {.stream = s.stream,
          .weights = {},
          .arena = s.arena,
          .ledger = s.ledger,
          .tape = &f.tape,
          .rng = {run_.options.seed, mb_of_training(a) * run_.options.samples_per_mb, uint32_t(a.view)},
          .training = true};
}

PassAt Worker::pass_at(int64_t mb, int64_t updates, const WeightRead& forward) const {
  return {.worker = index_,
          .workers = int(run_.pipeline.plan.size()),
          .mb = mb,
          .mbs_per_step = int(mbs_per_step()),
          .updates = updates,
          .forward = forward};
}

Weights Worker::read(const Action& a, Pass pass, const WeightRead& what) {
  Stage& s = stage(a);
  Weights weights = s.versions.read(pass, what, s.stream);
  if (run_.options.on_weights) run_.options.on_weights(a, what, weights);
  return weights;
}

std::vector<Var> Worker::fed(const Action& a) const {
  const Stage& s = stage(a);
  const std::vector<Port> ports = s.body->feed_ports();
  if (ports.empty()) return {};
  const std::vector<Tensor> values = run_.options.feed({a.stage, mb_of_training(a), ports, s.stream}).claim(s.stream);
  if (values.size() != ports.size())
    throw DataError(str("feed of stage ", a.stage, ": ", values.size(), " values, expected ", ports.size()));
  std::vector<Var> vars;
  for (size_t i = 0; i < ports.size(); ++i) {
    expect_dtype("feed", ports[i].name.c_str(), values[i].dtype(), ports[i].dtype);
    vars.push_back({values[i]});
  }
  return vars;
}

std::vector<Var> Worker::inputs(const Action& a, Flight& f) {
  f.in.resize(stage(a).body->in_ports().size());
  for (const Edge& e : run_.pipeline.wiring.edges) {
    if (e.to != a.stage || !run_.pipeline.wiring.carries(e, a.mb)) continue;
    const Parcel parcel = take(a, e.from);
    for (size_t i = 0; i < e.links.size(); ++i) {
      const bool leaf = e.links[i].differentiable && run_.pipeline.wiring.error_crosses;
      f.in[size_t(e.links[i].in)] = leaf ? f.tape.leaf(parcel.values[i]) : Var{parcel.values[i]};
    }
  }
  return f.in;
}

void Worker::hand_on(const Action& a, const StageOutput& out, const Flight& f) {
  const Stage& s = stage(a);
  if (out.out.size() != s.body->out_ports().size())
    throw ShapeError(str("stage ", a.stage, ": ", out.out.size(), " outputs, expected ", s.body->out_ports().size()));
  for (const Edge& e : run_.pipeline.wiring.edges) {
    if (e.from != a.stage || !run_.pipeline.wiring.carries(e, a.mb)) continue;
    Parcel parcel;
    for (const PortLink& l : e.links) {
      Tensor t = out.out[size_t(l.out)].value;
      bool passes_through = false;
      for (const Var& v : f.in) passes_through |= v.value.defined() && v.value.storage() == t.storage();
      parcel.values.push_back(passes_through && is_mine(e.to) ? own_copy(s.stream, t) : std::move(t));
    }
    put(a, e.to, std::move(parcel));
  }
}

void Worker::backward(const Action& a) {
  Stage& s = stage(a);
  const bool both = a.what == Do::kBackward;
  if (s.mode != StageMode::kTrain) {
    live_.erase(key(a));
    return;
  }
  Flight& f = live_.at(key(a));
  f.backward_weights = read(a, Pass::kBackward, rule().backward(pass_at(a.mb, s.versions.updates(), f.read)));
  BackwardCtx ctx{s.stream, f.backward_weights, s.arena, s.ledger};
  {
    const std::vector<Root> roots = rule().error(s, signals(a, f));
    if (both)
      f.tape.backward(roots, ctx);
    else
      f.tape.backward_input(roots, ctx);
  }
  hand_back(a, f);
  if (both) live_.erase(key(a));
}

Signals Worker::signals(const Action& a, Flight& f) {
  Signals out{f.losses, {}};
  for (const Edge& e : run_.pipeline.wiring.edges) {
    if (e.from != a.stage || !brings_gradient(e, a)) continue;
    Parcel parcel = take(a, e.to);
    if (!is_mine(e.to))
      for (const Tensor& t : parcel.values)
        if (t.defined()) f.received.push_back(t.storage().get());
    size_t next = 0;
    for (const PortLink& l : e.links) {
      if (!l.differentiable) continue;
      Tensor g = std::move(parcel.values[next++]);
      if (g.defined() && f.out[size_t(l.out)].node >= 0) out.gradients.push_back({f.out[size_t(l.out)], std::move(g)});
    }
    for (; next < parcel.values.size(); ++next) {
      flag_non_finite(stage(a).stream, parcel.values[next], stage(a).finite);
      f.later_losses.push_back(std::move(parcel.values[next]));
    }
  }
  return out;
}

/// The losses go along with the gradients, so that a stage before learns on the device that a step is not finite.
void Worker::hand_back(const Action& a, Flight& f) {
  for (const Edge& e : run_.pipeline.wiring.edges) {
    if (e.to != a.stage || !brings_gradient(e, a)) continue;
    Parcel parcel;
    for (const PortLink& l : e.links)
      if (l.differentiable) parcel.values.push_back(f.tape.take_grad(f.in[size_t(l.in)]));
    for (const Var& loss : f.losses) parcel.values.push_back(loss.value);
    for (const Tensor& loss : f.later_losses) parcel.values.push_back(loss);
    if (is_mine(e.from))
      for (Tensor& t : parcel.values)
        if (t.defined() && std::count(f.received.begin(), f.received.end(), t.storage().get()) > 0)
          t = own_copy(stage(a).stream, t);
    put(a, e.from, std::move(parcel));
  }
}

void Worker::backward_weight(const Action& a) {
  Stage& s = stage(a);
  if (s.mode != StageMode::kTrain) return;
  Flight& f = live_.at(key(a));
  BackwardCtx ctx{s.stream, f.backward_weights, s.arena, s.ledger};
  f.tape.backward_weight(ctx);
  live_.erase(key(a));
}

/// The first instance adds the others' gradients to its own, in ascending order; the others take the sum over.
void Worker::reduce(const Action& a) {
  Stage& s = stage(a);
  const bool first = instances().is_first(a.stage);
  for (const int other : instances().replicas(a.stage)) {
    if (!first && !instances().is_first(other)) continue;
    const Parcel parcel = is_mine(other) ? weight_gradients(other) : take(a, other);
    if (s.mode != StageMode::kTrain) continue;
    if (first)
      s.arena.add_grads(s.stream, parcel.values[0]);
    else
      s.arena.set_grads(s.stream, parcel.values[0]);
    flag_non_finite(s.stream, parcel.values[1], s.finite);
  }
}

/// What instances of a stage give each other.
Parcel Worker::weight_gradients(int stage) const {
  Stage& s = *run_.pipeline.stages[size_t(stage)];
  s.arena.finish_grads(s.stream);
  return {{s.arena.grads(), s.finite}};
}

void Worker::update(const Action& a) {
  Stage& s = stage(a);
  const int64_t step = run_.options.first_step + a.mb / mbs_per_step();
  if (s.mode == StageMode::kTrain) {
    const int64_t updates = s.versions.updates() + 1;
    int64_t mb = own_.at(a.stage).next_forward;
    while (!instances().computes(a.stage, mb)) ++mb;
    WeightVersions::Next next{.backward = rule().backward(pass_at(a.mb + mbs_per_step(), updates))};
    if (mb < run_.mbs()) next.forward = rule().forward(pass_at(mb, updates));
    s.versions.update(s.stream, s.finite, next);
  }
  own_.at(a.stage).log.end_step(s.stream, step);
}

void Worker::meet(const Action& a) {
  const Stream& stream = stage(a).stream;
  const std::vector<std::vector<float>> brought = run_.await(index_, stream);
  if (!norm_exchange()) return;
  std::vector<float> squares;
  std::vector<size_t> taken(brought.size());
  const Placement& placement = run_.pipeline.report.placement;
  for (size_t i = 0; i < placement.size(); ++i) {
    const auto w = size_t(placement[i]);
    const float of_instance = brought[w].at(taken[w]++);
    if (instances().is_first(int(i))) squares.push_back(of_instance);  // the others have the same sum
  }
  norm_exchange()->take(stream, run_.options.first_step + a.mb / mbs_per_step(), squares);
}

const NormExchange* Worker::norm_exchange() const {
  return run_.pipeline.norms.empty() ? nullptr : &run_.pipeline.norms[size_t(index_)];
}

void Worker::put(const Action& a, int to, Parcel parcel) {
  (is_mine(to) ? inbox_ : outbox_)[{a.stage, to, a.mb, a.view}] = std::move(parcel);
}

Parcel Worker::take(const Action& a, int from) {
  return std::move(inbox_.extract({from, a.stage, a.mb, a.view}).mapped());
}

}  // namespace sluice
