// Each batch makes 2 n hops for n stages: infer up, decode down. In tick t hop h serves batch t - h, so no stream waits
// for work that its own later batches would be queued behind.
#include "pipeline/evaluate.h"

#include <algorithm>
#include <deque>
#include <map>

#include "engine/error.h"
#include "engine/ops.h"
#include "pipeline/inference.h"
#include "pipeline/packing.h"
#include "pipeline/transport_remote.h"

namespace sluice {
namespace {

constexpr size_t kRunAhead = 2;

class Evaluator {
 public:
  /// `spread`: null where all stages are here.
  Evaluator(Stages stages, const Spread* spread, const Feed& feed, size_t exit)
      : stages_(stages),
        spread_(spread),
        count_(exit == 0 ? stages.size() : exit),
        feed_(feed),
        weighted_(spread != nullptr ? spread->weighted : reads_weights(*stages.back()->body)) {
    if (count_ > stages.size()) throw ConfigError(str("evaluate: exit behind stage ", count_, " of ", stages.size()));
    if (spread != nullptr) connect();
  }

  Evaluation run(int64_t batches) {
    const int64_t hops = 2 * int64_t(count_);
    for (int64_t tick = 0; tick < batches + hops - 1; ++tick)
      for (int64_t hop = hops - 1; hop >= 0; --hop)
        if (const int64_t b = tick - hop; b >= 0 && b < batches && stages_[stage_of(hop)]) make_hop(b, hop);
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

  size_t stage_of(int64_t hop) const { return size_t(hop) < count_ ? size_t(hop) : 2 * count_ - 1 - size_t(hop); }

  int rank_of(int64_t hop) const { return spread_->ranks[stage_of(hop)]; }

  /// A channel wherever the next hop is in another process. What arrives there may be handed on from hop to hop as it
  /// is, and keeps its slot until it leaves: there is one for each of these hops, and one for what comes meanwhile.
  void connect() {
    const int64_t hops = 2 * int64_t(count_);
    std::vector<ChannelUse> channels;
    for (int64_t hop = 0; hop + 1 < hops; ++hop) {
      if (rank_of(hop) == rank_of(hop + 1)) continue;
      int64_t last = hop + 1;
      while (last + 1 < hops && rank_of(last + 1) == rank_of(hop + 1)) ++last;
      channels.push_back({int(stage_of(hop)), int(stage_of(hop + 1)), int(last - hop) + 1});
    }
    const auto some = std::find_if(stages_.begin(), stages_.end(), [](const StagePtr& s) { return s != nullptr; });
    std::vector<Stream> streams;  // none where no stage is here
    for (const StagePtr& s : stages_)
      if (some != stages_.end()) streams.push_back(s ? s->stream : (*some)->stream);
    net_ = std::make_unique<RemoteTransport>(spread_->peers, channels, spread_->ranks, streams);
  }

  /// What hop `hop` of a batch starts from.
  void take(Batch& b, int64_t batch, int64_t hop) {
    const size_t at = stage_of(hop);
    Stage& s = *stages_[at];
    if (hop == 0) {
      b = {fetch_batch(s, feed_, batch, weighted_), 0};
    } else if (const size_t before = stage_of(hop - 1); stages_[before]) {
      if (size_t(hop) < count_) b.x = handed_on(*stages_[before]->body, *s.body, b.x);
      for (Var& v : b.x) v = {moved(v.value, stages_[before]->stream, s.stream)};
    } else {
      b.x.clear();
      for (Tensor& t : net_->recv(act(Do::kRecv, int(at), batch, int(before)), s.stream).values)
        b.x.push_back({std::move(t)});
    }
    b.at = at;
  }

  /// Hands on to the next hop's stage where that is in another process.
  void give(Batch& b, int64_t batch, int64_t hop) {
    const size_t next = stage_of(hop + 1);
    if (stages_[next]) return;
    if (size_t(hop + 1) < count_) b.x = handed_on(spread_->ports[b.at].out, spread_->ports[next].in, b.x);
    Parcel parcel;
    for (Var& v : b.x) parcel.values.push_back(std::move(v.value));
    net_->send(act(Do::kSend, int(b.at), batch, int(next)), parcel, stages_[b.at]->stream);
    b.x.clear();
    if (!stages_[0]) batches_.erase(batch);  // else the labels wait for it
  }

  void make_hop(int64_t batch, int64_t hop) {
    const size_t n = count_;
    Batch& b = batches_[batch];
    take(b, batch, hop);
    Stage& s = *stages_[b.at];
    Ctx ctx = inference_ctx(s);
    if (size_t(hop) < n)
      b.x = s.body->infer(ctx, b.x);
    else
      b.x = {s.body->decode(ctx, size_t(hop) == n ? s.body->head(ctx, b.x) : b.x[0])};
    if (size_t(hop) + 1 < 2 * n) return give(b, batch, hop);
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

  const Stages stages_;
  const Spread* const spread_;
  const size_t count_;  // the stages passed through
  const Feed& feed_;
  const bool weighted_;
  std::unique_ptr<RemoteTransport> net_;
  std::map<int64_t, Batch> batches_;  // under way, by number
  std::deque<Count> counts_;          // queued copies point into it: elements stay where they are
  Evaluation result_;
};

Evaluation evaluated(Evaluator& e, Stages stages, int64_t batches) {
  try {
    return e.run(batches);
  } catch (...) {
    for (const StagePtr& s : stages) try {
        if (s) s->stream.sync();  // queued work points into the evaluator
      } catch (const std::exception&) {
        continue;  // the first error is on its way already
      }
    throw;
  }
}

}  // namespace

bool reads_weights(const StageBody& last) {
  const std::vector<Port> ports = last.feed_ports();
  return std::any_of(ports.begin(), ports.end(), [](const Port& p) { return p.name == "weights"; });
}

Evaluation evaluate(Stages stages, const Feed& feed, int64_t batches, size_t exit) {
  Evaluator e(stages, nullptr, feed, exit);
  return evaluated(e, stages, batches);
}

Evaluation evaluate(Stages stages, const Spread& spread, const Feed& feed, int64_t batches, size_t exit) {
  Evaluator e(stages, &spread, feed, exit);
  const Evaluation own = evaluated(e, stages, batches);
  const std::vector<std::string> all = spread.peers.all_gather(Packer().add(own).bytes());
  return Unpacker(all[size_t(spread.ranks[0])]).take<Evaluation>();  // the labels are where the first stage is
}

}  // namespace sluice
