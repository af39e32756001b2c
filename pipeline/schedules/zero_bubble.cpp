// Zero bubble: weight gradients fill the time in which 1F1B waits. Workers are played through in steps of one action
// each, which forwards, input gradients and weight gradients take alike; each takes what others wait for first.
#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

/// What a worker has done of a step; micro-batches are taken in order, so counts say which.
struct ZeroBubbleWorker {
  int64_t forward = 0, input = 0, weight = 0;
  int64_t cap = 0;                              // halves of a micro-batch's activations that may be kept
  std::vector<int64_t> forward_end, input_end;  // by micro-batch
  Program program;
  /// A forward keeps both halves, an input gradient lets go of one, the weight gradient of the other.
  int64_t kept() const { return 2 * forward - input - weight; }
};

class ZeroBubble {
 public:
  ZeroBubble(std::vector<std::vector<int>> stages, int mbs, int64_t (*cap)(int64_t workers, int64_t w))
      : stages_(std::move(stages)), workers_(stages_.size()), mbs_(mbs) {
    for (size_t w = 0; w < workers_.size(); ++w) {
      workers_[w].cap = cap(int64_t(workers_.size()), int64_t(w));
      workers_[w].forward_end.assign(size_t(mbs), kNever);
      workers_[w].input_end.assign(size_t(mbs), kNever);
    }
  }

  Plan play() {
    const auto works = [&](const ZeroBubbleWorker& w) { return w.weight < mbs_; };
    for (int64_t now = 0; std::any_of(workers_.begin(), workers_.end(), works); ++now) {
      std::vector<Do> chosen;
      for (size_t w = 0; w < workers_.size(); ++w) chosen.push_back(choice(w, now));
      for (size_t w = 0; w < workers_.size(); ++w) take(w, chosen[w], now);
    }
    Plan plan;
    for (size_t w = 0; w < workers_.size(); ++w) {
      add_update(workers_[w].program.period, stages_[w], 0);
      workers_[w].program.mbs_per_period = mbs_;
      plan.push_back(std::move(workers_[w].program));
    }
    return plan;
  }

 private:
  static constexpr Do kWait = Do::kUpdate;  // nothing can be done yet

  Do choice(size_t w, int64_t now) const {
    const ZeroBubbleWorker& me = workers_[w];
    const bool last = w + 1 == workers_.size();
    if (me.input < me.forward) {
      const auto mb = size_t(me.input);
      if ((last ? me.forward_end[mb] : workers_[w + 1].input_end[mb]) <= now) return Do::kBackwardInput;
    }
    if (me.forward < mbs_ && me.kept() + 2 <= me.cap &&
        (w == 0 || workers_[w - 1].forward_end[size_t(me.forward)] <= now))
      return Do::kForward;
    return me.weight < me.input ? Do::kBackwardWeight : kWait;
  }

  void take(size_t w, Do what, int64_t now) {
    ZeroBubbleWorker& me = workers_[w];
    if (what == kWait) return;
    if (what == Do::kForward) {
      add_forward(me.program.period, stages_[w], me.forward);
      me.forward_end[size_t(me.forward++)] = now + 1;
      return;
    }
    int64_t& count = what == Do::kBackwardInput ? me.input : me.weight;
    for (size_t i = stages_[w].size(); i-- > 0;) me.program.period.push_back(act(what, stages_[w][i], count));
    if (what == Do::kBackwardInput) me.input_end[size_t(count)] = now + 1;
    ++count;
  }

  std::vector<std::vector<int>> stages_;  // of each worker
  std::vector<ZeroBubbleWorker> workers_;
  int mbs_;
};

}  // namespace

Plan zb_h1(const Placement& placement, int mbs) {
  expect_mbs("zb_h1", mbs);
  return ZeroBubble(contiguous_stages("zb_h1", placement), mbs, [](int64_t p, int64_t w) { return 2 * (p - w) + w; })
      .play();
}
Plan zb_h2(const Placement& placement, int mbs) {
  expect_mbs("zb_h2", mbs);
  return ZeroBubble(contiguous_stages("zb_h2", placement), mbs,
                    [](int64_t p, int64_t w) { return 2 * (2 * (p - w) - 1) + 2 * w; })
      .play();
}

}  // namespace sluice
