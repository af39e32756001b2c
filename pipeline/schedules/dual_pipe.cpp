// DualPipe: micro-batches enter at both ends; in the middle of a step each worker has a forward of one direction and a
// backward of the other at a time, which may overlap.
#include <algorithm>
#include <deque>

#include "engine/error.h"
#include "pipeline/schedules.h"
#include "pipeline/schedules/both_ways.h"

namespace sluice {
namespace {

/// A worker's program in the words of the original: phase 0 is the direction whose entry is nearer.
class DualPipeWorker {
 public:
  DualPipeWorker(const TwoWays& stages, int w, int workers) : stages_(stages), own_(2 * w < workers ? 0 : 1) {}

  void forward(int phase) {
    const int d = direction(phase);
    add_forward(program_.period, stages_[size_t(d)], 2 * forwards_[size_t(d)]++ + d);
  }
  void backward(int phase) {
    const int d = direction(phase);
    add_backward(program_.period, stages_[size_t(d)], 2 * backwards_[size_t(d)]++ + d);
  }
  void backward_input(int phase) {
    const int d = direction(phase);
    const int64_t mb = 2 * backwards_[size_t(d)]++ + d;
    add(Do::kBackwardInput, d, mb);
    owed_.push_back({d, mb});
  }
  /// The oldest that is due.
  void backward_weight() {
    add(Do::kBackwardWeight, owed_.front().first, owed_.front().second);
    owed_.pop_front();
  }
  Program finish(int mbs) {
    add_sums_and_updates(program_.period, stages_);
    program_.mbs_per_period = mbs;
    return std::move(program_);
  }

 private:
  int direction(int phase) const { return phase == 0 ? own_ : 1 - own_; }
  void add(Do what, int d, int64_t mb) {
    const std::vector<int>& mine = stages_[size_t(d)];
    for (size_t i = mine.size(); i-- > 0;) program_.period.push_back(act(what, mine[i], mb));
  }

  const TwoWays& stages_;
  int own_;
  std::array<int64_t, 2> forwards_{}, backwards_{};  // by direction
  std::deque<std::pair<int, int64_t>> owed_;         // direction and micro-batch of weight gradients
  Program program_;
};

}  // namespace

Plan dual_pipe(const Placement& placement, int mbs) {
  expect_mbs("dual_pipe", mbs);
  const std::vector<TwoWays> stages_of = two_ways("dual_pipe", placement);
  const int workers = int(stages_of.size());
  if (mbs % 2 != 0 || mbs < 2 * workers)
    throw ScheduleError(str("dual_pipe: ", mbs, " micro-batches a step, expected an even number, ", 2 * workers,
                            " or more for ", workers, " workers"));
  Plan plan;
  for (int w = 0; w < workers; ++w) {
    DualPipeWorker p(stages_of[size_t(w)], w, workers);
    const int before = std::min(w, workers - 1 - w);  // workers between this one and the nearer end
    const int behind = workers / 2 - 1 - before;      // and the middle
    const auto repeat = [](int n, auto&& f) {
      for (int i = 0; i < n; ++i) f(i);
    };
    repeat(2 * behind, [&](int) { p.forward(0); });
    repeat(before + 1, [&](int) { p.forward(0), p.forward(1); });
    repeat(behind, [&](int) { p.backward_input(1), p.backward_weight(), p.forward(1); });
    repeat(mbs / 2 - workers + before + 1, [&](int) { p.forward(0), p.backward(1), p.forward(1), p.backward(0); });
    repeat(behind, [&](int) { p.backward(1), p.forward(1), p.backward(0); });
    repeat(2 * (before + 1), [&](int i) {
      const int phase = i % 2 == 0 ? 1 : 0;
      i <= before ? p.backward(phase) : p.backward_input(phase);
    });
    repeat(behind, [&](int) { p.backward_weight(), p.backward_input(0); });
    repeat(before + 1, [&](int) { p.backward_weight(); });
    plan.push_back(p.finish(mbs));
  }
  return plan;
}

}  // namespace sluice
