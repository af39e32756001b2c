// One micro-batch, stage by stage, dry.
#include "pipeline/byte_count.h"

#include <algorithm>
#include <memory>

#include "engine/tape.h"
#include "pipeline/wiring.h"

namespace sluice {
namespace {

/// Of a value in a parcel: the transport begins each at a multiple of 256 bytes.
int64_t parcel_bytes(const Tensor& t) { return (t.bytes() + 255) / 256 * 256; }

class Count {
 public:
  Count(const std::vector<StageNet>& nets, const Feed& feed, bool error_crosses)
      : nets_(nets), feed_(feed), error_crosses_(error_crosses), losses_(nets.size(), 0), values_(nets.size()) {
    std::vector<StagePorts> ports;
    for (const StageNet& n : nets) ports.push_back({n.body->in_ports(), n.body->out_ports()});
    edges_ = route(ports);
  }

  ByteCount run(int moments) {
    ByteCount out;
    for (size_t s = 0; s < nets_.size(); ++s) out.bytes.push_back(stage(s, moments));
    for (size_t s = nets_.size(); s-- > 0;)  // the losses of later stages go back along with the gradients
      for (const Edge& e : edges_)
        if (e.from == int(s) && crosses(e)) losses_[s] += losses_[size_t(e.to)];
    for (const Edge& e : edges_) out.edges.push_back(edge(e));
    return out;
  }

 private:
  bool crosses(const Edge& e) const { return error_crosses_ && e.differentiable(); }

  std::vector<Var> fed(size_t s) const {
    const std::vector<Port> ports = nets_[s].body->feed_ports();
    std::vector<Var> vars;
    if (ports.empty()) return vars;
    for (Tensor& t : feed_({int(s), 0, ports, dry_}).claim(dry_)) vars.push_back({std::move(t)});
    return vars;
  }
  std::vector<Var> inputs(size_t s, Tape& tape) const {
    std::vector<Var> in(nets_[s].body->in_ports().size());
    for (const Edge& e : edges_) {
      if (e.to != int(s)) continue;
      for (const PortLink& l : e.links) {
        const Tensor& value = values_[size_t(e.from)][size_t(l.out)];
        in[size_t(l.in)] = l.differentiable && error_crosses_ ? tape.leaf(value) : Var{value};
      }
    }
    return in;
  }
  std::vector<Root> roots(size_t s, const StageOutput& out) const {
    std::vector<Root> all;
    for (const Edge& e : edges_) {
      if (e.from != int(s) || !crosses(e)) continue;
      for (const PortLink& l : e.links) {
        const Var& v = out.out[size_t(l.out)];
        if (l.differentiable && v.node >= 0)
          all.push_back({{{}, v.node}, Tensor::empty(dry_, v.shape(), v.value.dtype())});
      }
    }
    for (const Var& loss : out.losses) all.push_back({{{}, loss.node}, {}});
    return all;
  }

  /// Forward once beside all stages before, whose values it reads, and once alone, there and back.
  StageBytes stage(size_t s, int moments) {
    Arena arena(dry_, nets_[s].init, 0);
    StageBytes b{.weights = arena.values().bytes(),
                 .gradients = arena.grads().bytes(),
                 .optimizer = moments * arena.values().bytes(),
                 .tables = arena.values().bytes() - arena.dense_size() * size_of(DType::kF32),
                 .buffers = arena.buffers().bytes()};
    const std::vector<Var> feed = fed(s);
    const int64_t before = together_.bytes();
    tapes_.push_back(std::make_unique<Tape>());
    const StageOutput out = forward(s, feed, arena, together_, *tapes_.back());
    for (const Var& v : out.out) values_[s].push_back(v.value);
    losses_[s] = int64_t(out.losses.size());
    const int64_t fresh = together_.bytes() - before;
    b.inputs = recomputed_inputs(s, feed, arena);
    alone(s, feed, arena, b);
    b.shared = std::max<int64_t>(0, b.activations - fresh);
    return b;
  }
  void alone(size_t s, const std::vector<Var>& feed, Arena& arena, StageBytes& b) const {
    Pool& pool = dry_.pool();
    pool.reset_peak();
    const int64_t before = pool.in_use();
    Ledger ledger;
    Tape tape;
    StageOutput out = forward(s, feed, arena, ledger, tape);
    b.activations = ledger.bytes();
    const std::vector<Root> from = roots(s, out);
    out = {};
    BackwardCtx back{dry_, arena.weights(), arena, ledger};
    tape.backward_input(from, back);
    b.deferred = ledger.bytes();
    tape.backward_weight(back);
    b.working = std::max<int64_t>(0, pool.peak() - before - b.activations);
  }
  int64_t recomputed_inputs(size_t s, const std::vector<Var>& feed, Arena& arena) const {
    Ledger ledger;
    Tape unused;
    Replay replay;
    std::vector<Saved> kept;
    const std::vector<Var> in = inputs(s, unused);
    for (const std::vector<Var>* values : {&in, &feed})
      for (const Var& v : *values) kept.emplace_back(v.value, SaveKind::kActivation, &ledger);
    Ctx ctx = context(arena, ledger);
    ctx.replay = &replay;
    nets_[s].body->forward(ctx, feed, in, 1.0f);
    return ledger.bytes();
  }
  StageOutput forward(size_t s, const std::vector<Var>& feed, Arena& arena, Ledger& ledger, Tape& tape) const {
    Ctx ctx = context(arena, ledger);
    ctx.tape = &tape;
    return nets_[s].body->forward(ctx, feed, inputs(s, tape), 1.0f);
  }

  Ctx context(Arena& arena, Ledger& ledger) const {
    return {.stream = dry_,
            .weights = arena.weights(),
            .arena = arena,
            .ledger = ledger,
            .tape = nullptr,
            .rng = {},
            .training = true};
  }

  EdgeBytes edge(const Edge& e) const {
    EdgeBytes bytes{.from = e.from, .to = e.to};
    for (const PortLink& l : e.links) {
      const int64_t value = parcel_bytes(values_[size_t(e.from)][size_t(l.out)]);
      bytes.activations += value;
      if (crosses(e) && l.differentiable) bytes.gradients += value;
    }
    if (crosses(e)) bytes.gradients += 256 * losses_[size_t(e.to)];
    return bytes;
  }

  const std::vector<StageNet>& nets_;
  const Feed& feed_;
  bool error_crosses_;
  Stream dry_{Device{}, CpuShare{.dry = true}};
  std::vector<Edge> edges_;
  std::vector<int64_t> losses_;              // by stage
  std::vector<std::vector<Tensor>> values_;  // by stage and port
  Ledger together_;                          // of all stages
  std::vector<std::unique_ptr<Tape>> tapes_;
};

}  // namespace

ByteCount count_bytes(const std::vector<StageNet>& nets, const Feed& feed, bool error_crosses, int moments) {
  return Count(nets, feed, error_crosses).run(moments);
}

}  // namespace sluice
