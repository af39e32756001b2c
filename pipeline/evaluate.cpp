// Each batch makes 2 n hops for n stages: infer up, decode down. In tick t hop h serves batch t - h, so no stream waits
// for work that its own later batches would be queued behind.
#include "pipeline/evaluate.h"

#include <algorithm>
#include <deque>
#include <map>

#include "engine/error.h"
#include "engine/ops.h"
#include "pipeline/inference.h"

namespace sluice {
namespace {

constexpr size_t kRunAhead = 2;

class Evaluator {
 public:
  Evaluator(const std::vector<StagePtr>& stages, const Feed& feed, size_t exit)
      : stages_(stages), count_(exit == 0 ? stages.size() : exit), feed_(feed), weighted_(reads_weights(stages)) {
    if (count_ > stages.size()) throw ConfigError(str("evaluate: exit behind stage ", count_, " of ", stages.size()));
  }

  Evaluation run(int64_t batches) {
    const int64_t hops = 2 * int64_t(count_);
    for (int64_t tick = 0; tick < batches + hops - 1; ++tick)
      for (int64_t hop = hops - 1; hop >= 0; --hop)
        if (const int64_t b = tick - hop; b >= 0 && b < batches) make_hop(b, hop);
    while (!counts_.empty()) retire();
    if (result_.samples > 0) result_.loss /= double(result_.samples);
    return result_;
  }

 private:
  struct Batch : InferenceBatch {
    size_t at = 0;  // the stage where x lies
  };
  struct Count {
    float correct = 0, loss = 0;  // the latter of sequences: the mean of their tokens
    int64_t samples = 0;
    std::vector<int32_t> tokens{};  // of sequences, 0 is padding
    Event done;
  };

  void make_hop(int64_t batch, int64_t hop) {
    const size_t n = count_;
    if (hop == 0) batches_[batch] = {fetch_batch(*stages_[0], feed_, batch, weighted_), 0};
    Batch& b = batches_.at(batch);
    const size_t target = size_t(hop) < n ? size_t(hop) : 2 * n - 1 - size_t(hop);
    Stage& s = *stages_[target];
    if (hop > 0 && size_t(hop) < n) b.x = handed_on(*stages_[b.at]->body, *s.body, b.x);
    for (Var& v : b.x) v = {moved(v.value, stages_[b.at]->stream, s.stream)};
    b.at = target;
    Ctx ctx = inference_ctx(s);
    if (size_t(hop) < n)
      b.x = s.body->infer(ctx, b.x);
    else
      b.x = {s.body->decode(ctx, size_t(hop) == n ? s.body->head(ctx, b.x) : b.x[0])};
    if (size_t(hop) + 1 < 2 * n) return;
    count(ctx, b);
    batches_.erase(batch);
  }

  void count(Ctx& ctx, const Batch& b) {
    Count& c = counts_.emplace_back();
    const Tensor labels = b.labels.reshape({b.labels.numel()});
    c.samples = labels.numel();
    copy_to_host(ctx.stream, correct_count(ctx, b.x[0].value, labels), &c.correct);
    if (weighted_) {
      c.tokens.resize(size_t(c.samples));
      copy_to_host(ctx.stream, labels, c.tokens.data());
      const Tensor weights = b.weights.reshape(labels.shape());
      copy_to_host(ctx.stream, softmax_cross_entropy(ctx, b.x[0], labels, 1.0f, weights).value, &c.loss);
    }
    c.done = ctx.stream.record();
    if (counts_.size() > kRunAhead) retire();
  }
  void retire() {
    Count& c = counts_.front();
    c.done.sync();
    if (weighted_) c.samples -= std::count(c.tokens.begin(), c.tokens.end(), 0);
    result_.correct += int64_t(c.correct);
    result_.samples += c.samples;
    result_.loss += double(c.loss) * double(c.samples);
    counts_.pop_front();
  }
  static bool reads_weights(const std::vector<StagePtr>& stages) {
    const std::vector<Port> ports = stages.back()->body->feed_ports();
    return std::any_of(ports.begin(), ports.end(), [](const Port& p) { return p.name == "weights"; });
  }

  const std::vector<StagePtr>& stages_;
  const size_t count_;  // the stages passed through
  const Feed& feed_;
  const bool weighted_;
  std::map<int64_t, Batch> batches_;  // under way, by number
  std::deque<Count> counts_;          // queued copies point into it: elements stay where they are
  Evaluation result_;
};

}  // namespace

Evaluation evaluate(const std::vector<StagePtr>& stages, const Feed& feed, int64_t batches, size_t exit) {
  Evaluator e(stages, feed, exit);
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
