// Each batch makes 2 n hops for n stages: infer up, decode down. In tick t hop h serves batch t - h, so no stream waits
// for work that its own later batches would be queued behind.
#include "pipeline/evaluate.h"

#include <deque>
#include <map>

#include "engine/error.h"
#include "engine/ops.h"

namespace sluice {
namespace {

constexpr size_t kRunAhead = 2;

Tensor moved(const Tensor& t, const Stream& from, const Stream& to) {
  if (from == to) return t;
  Tensor out = Tensor::empty(to, t.shape(), t.dtype());
  const Stream& mover = to.is_cpu() && !from.is_cpu() ? from : to;  // a CPU stream reaches CPU memory only
  mover.wait(mover == to ? from.record() : to.record());
  t.storage()->record_use(mover);
  copy(mover, t, out);
  if (mover == from) {
    out.storage()->record_use(mover);
    to.wait(from.record());
  }
  return out;
}

class Evaluator {
 public:
  Evaluator(const std::vector<StagePtr>& stages, const Feed& feed) : stages_(stages), feed_(feed) {
    const std::vector<Port> ports = stages.front()->body->feed_ports();
    if (ports.empty()) throw ScheduleError("evaluate: stage 0 reads nothing from the data");
    ports_ = {ports.front(), {.name = "labels", .dtype = DType::kI32, .differentiable = false}};
  }

  Evaluation run(int64_t batches) {
    const int64_t hops = 2 * int64_t(stages_.size());
    for (int64_t tick = 0; tick < batches + hops - 1; ++tick)
      for (int64_t hop = hops - 1; hop >= 0; --hop)
        if (const int64_t b = tick - hop; b >= 0 && b < batches) make_hop(b, hop);
    while (!counts_.empty()) retire();
    return result_;
  }

 private:
  struct Batch {
    Tensor x, labels;
    size_t at = 0;  // the stage where x lies
  };
  struct Count {
    float correct = 0;
    int64_t samples = 0;
    Event done;
  };

  void make_hop(int64_t batch, int64_t hop) {
    const size_t n = stages_.size();
    if (hop == 0) {
      const Stream& s = stages_[0]->stream;
      std::vector<Tensor> values = feed_({0, batch, ports_, s}).claim(s);
      if (values.size() != 2) throw DataError(str("feed for evaluation: ", values.size(), " values, expected 2"));
      batches_[batch] = {values[0], values[1], 0};
    }
    Batch& b = batches_.at(batch);
    const size_t target = size_t(hop) < n ? size_t(hop) : 2 * n - 1 - size_t(hop);
    Stage& s = *stages_[target];
    b.x = moved(b.x, stages_[b.at]->stream, s.stream);
    b.at = target;
    Ctx ctx{.stream = s.stream, .weights = s.arena.weights(), .arena = s.arena, .ledger = s.ledger};
    Var v{b.x};
    if (size_t(hop) < n) {
      v = s.body->infer(ctx, v);
    } else {
      if (size_t(hop) == n) v = s.body->head(ctx, v);
      v = s.body->decode(ctx, v);
    }
    b.x = v.value;
    if (size_t(hop) + 1 < 2 * n) return;
    count(ctx, b);
    batches_.erase(batch);
  }

  void count(Ctx& ctx, const Batch& b) {
    Count& c = counts_.emplace_back();
    c.samples = b.labels.dim(0);
    copy_to_host(ctx.stream, correct_count(ctx, b.x, b.labels), &c.correct);
    c.done = ctx.stream.record();
    if (counts_.size() > kRunAhead) retire();
  }
  void retire() {
    counts_.front().done.sync();
    result_.correct += int64_t(counts_.front().correct);
    result_.samples += counts_.front().samples;
    counts_.pop_front();
  }

  const std::vector<StagePtr>& stages_;
  const Feed& feed_;
  std::vector<Port> ports_;
  std::map<int64_t, Batch> batches_;  // under way, by number
  std::deque<Count> counts_;          // queued copies point into it: elements stay where they are
  Evaluation result_;
};

}  // namespace

Evaluation evaluate(const std::vector<StagePtr>& stages, const Feed& feed, int64_t batches) {
  Evaluator e(stages, feed);
  try {
    return e.run(batches);
  } catch (...) {
    for (const StagePtr& s : stages) try {
        s->stream.sync();  // queued work points into the evaluator
      } catch (const std::exception&) {
        continue;  // the first error is on its way already
      }
    throw;
  }
}

}  // namespace sluice
