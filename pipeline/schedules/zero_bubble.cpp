// Zero bubble: weight gradients fill the time in which 1F1B waits. Workers are played through in the order of time.
#include <algorithm>
#include <deque>
#include <limits>
#include <optional>
#include <set>

#include "engine/error.h"
#include "pipeline/schedules.h"
#include "pipeline/simulate.h"
#include "pipeline/transfers.h"

namespace sluice {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int64_t kLast = std::numeric_limits<int64_t>::max() / 4;  // a rank behind all others

/// Stages that a worker takes a micro-batch through at once.
struct Chunk {
  int worker = 0;
  std::vector<int> stages;
  /// The rank of the first micro-batch's forward and input gradient among the actions of their worker. Ranks grow by
  /// what a micro-batch takes there where every action takes 1.
  int64_t forward_rank = 0, input_rank = 0;
  double forward_cost = 1, input_cost = 1, weight_cost = 1;
  double there = 0, back = 0;  // from the end of a forward, an input gradient, until the neighbour can take it up
  int64_t forwards = 0, inputs = 0, weights = 0;  // begun: micro-batches are taken in order, so counts say which
  std::vector<double> forward_end{}, input_end{};
};

struct ZeroBubbleWorker {
  int64_t cap = 0;             // halves of a chunk's activations of a micro-batch that may be kept
  int64_t kept = 0;            // a forward keeps both halves, an input gradient lets go of one, a weight gradient too
  std::deque<size_t> owed{};   // chunks of the weight gradients that are due, oldest first
  std::vector<size_t> mine{};  // chunks
  double free = 0;             // from when on
  Program program{};
};

/// What a worker does when the action of the lowest rank cannot run yet.
enum class Otherwise : uint8_t {
  kOvertake,  // the next one that can
  kKeepOrder  // a weight gradient
};

/// One play. A weight gradient is put off where an action that goes before it is known to come up before `patience` of
/// the time of the weight gradient has passed.
class ZeroBubble {
 public:
  ZeroBubble(std::vector<Chunk> chunks, const std::vector<int64_t>& caps, int mbs, Otherwise otherwise, double patience)
      : chunks_(std::move(chunks)), workers_(caps.size()), mbs_(mbs), otherwise_(otherwise), patience_(patience) {
    for (size_t w = 0; w < caps.size(); ++w) workers_[w].cap = caps[w];
    for (size_t c = 0; c < chunks_.size(); ++c) {
      chunks_[c].forward_end.assign(size_t(mbs), kNever);
      chunks_[c].input_end.assign(size_t(mbs), kNever);
      workers_[size_t(chunks_[c].worker)].mine.push_back(c);
      slack_ += 1e-9 * (chunks_[c].forward_cost + chunks_[c].input_cost + chunks_[c].weight_cost);
    }
  }

  /// Nothing where forwards that came early took the memory that others, which they wait for, need.
  std::optional<Plan> play() {
    times_ = {0.0};
    while (!times_.empty()) {
      const double now = *times_.begin();
      times_.erase(times_.begin());
      for (ZeroBubbleWorker& w : workers_)
        if (w.free <= now + slack_) take(w, choice(w, now), now);
    }
    for (const Chunk& c : chunks_)
      if (c.weights < mbs_) return {};
    Plan plan;
    for (ZeroBubbleWorker& w : workers_) {
      for (const size_t c : w.mine) add_update(w.program.period, chunks_[c].stages, 0);
      w.program.mbs_per_period = mbs_;
      plan.push_back(std::move(w.program));
    }
    return plan;
  }

 private:
  struct Move {
    Do what = Do::kUpdate;  // which stands for: nothing can be done yet
    size_t chunk = 0;
    int64_t rank = std::numeric_limits<int64_t>::max();
  };

  Move choice(const ZeroBubbleWorker& w, double now) {
    std::vector<Move> moves;
    for (const size_t c : w.mine) {
      const Chunk& k = chunks_[c];
      const int64_t each = 3 * int64_t(w.mine.size());  // actions of a micro-batch
      if (k.inputs < mbs_) moves.push_back({Do::kBackwardInput, c, k.input_rank + each * k.inputs});
      if (k.forwards < mbs_) moves.push_back({Do::kForward, c, k.forward_rank + each * k.forwards});
    }
    std::sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.rank < b.rank; });
    if (otherwise_ == Otherwise::kKeepOrder && moves.size() > 1) moves.resize(1);
    double next = kNever;
    bool held_up = false;  // by its memory alone
    for (const Move& m : moves) {
      const double ready = ready_at(m);
      const bool room = m.what != Do::kForward || w.kept + 2 <= w.cap;
      if (ready <= now + slack_ && room) return m;
      held_up |= ready <= now + slack_;
      if (room) next = std::min(next, ready);
    }
    if (next < kNever) times_.insert(next);
    if (w.owed.empty()) return {};
    const bool soon = next - now < patience_ * chunks_[w.owed.front()].weight_cost - slack_;
    return soon && !held_up ? Move{} : Move{Do::kBackwardWeight, w.owed.front(), 0};
  }

  /// When what it needs is there; kNever where that is not known yet.
  double ready_at(const Move& m) const {
    const Chunk& c = chunks_[m.chunk];
    if (m.what == Do::kForward) {
      const Chunk* before = m.chunk == 0 ? nullptr : &chunks_[m.chunk - 1];
      return before == nullptr ? 0.0 : before->forward_end[size_t(c.forwards)] + before->there;
    }
    const auto mb = size_t(c.inputs);
    const Chunk* behind = m.chunk + 1 == chunks_.size() ? nullptr : &chunks_[m.chunk + 1];
    return behind == nullptr ? c.forward_end[mb] : std::max(c.forward_end[mb], behind->input_end[mb] + behind->back);
  }

  void take(ZeroBubbleWorker& w, const Move& m, double now) {
    if (m.what == Do::kUpdate) return;
    Chunk& c = chunks_[m.chunk];
    const bool forward = m.what == Do::kForward, input = m.what == Do::kBackwardInput;
    w.free = now + (forward ? c.forward_cost : input ? c.input_cost : c.weight_cost);
    times_.insert(w.free);
    if (forward) {
      add_forward(w.program.period, c.stages, c.forwards);
      c.forward_end[size_t(c.forwards++)] = w.free;
      w.kept += 2;
      return;
    }
    int64_t& count = input ? c.inputs : c.weights;
    for (size_t i = c.stages.size(); i-- > 0;) w.program.period.push_back(act(m.what, c.stages[i], count));
    if (input) {
      c.input_end[size_t(count)] = w.free;
      w.owed.push_back(m.chunk);
    } else {
      w.owed.pop_front();
    }
    ++count;
    --w.kept;
  }

  std::vector<Chunk> chunks_;  // in the order of stages
  std::vector<ZeroBubbleWorker> workers_;
  int mbs_;
  Otherwise otherwise_;
  double patience_;
  double slack_ = 0;        // sums of the same times in another order differ by less
  std::set<double> times_;  // at which somebody may have something to do
};

void set_costs(std::vector<Chunk>& chunks, const CostModel& m) {
  for (size_t i = 0; i < chunks.size(); ++i) {
    Chunk& c = chunks[i];
    c.forward_cost = c.input_cost = c.weight_cost = 0;
    for (const int s : c.stages) {
      c.forward_cost += CostModel::of(m.forward, s);
      c.input_cost += CostModel::of(m.backward_input, s);
      c.weight_cost += CostModel::of(m.backward_weight, s);
    }
    const auto way = [&](int from, int to) { return m.link.latency + m.link.seconds(m.parcel(from, to)); };
    const int first = c.stages.front(), last = c.stages.back();
    if (i + 1 < chunks.size() && chunks[i + 1].worker != c.worker) c.there = way(last, last + 1);
    if (i > 0 && chunks[i - 1].worker != c.worker) c.back = way(first, first - 1);
  }
}

/// Without costs, the play where every action of a chunk takes 1. With them, of that and of plays that know them the
/// one whose longest stage time is shortest on paper; of equals, the first.
Plan best_play(std::vector<Chunk> chunks, const std::vector<int64_t>& caps, int mbs, Otherwise otherwise,
               const CostModel* costs) {
  Plan best = ZeroBubble(chunks, caps, mbs, otherwise, 0).play().value();
  if (costs == nullptr) return best;
  Wiring wiring;
  wiring.stages = int(placement_of(best).size());
  wiring.edges = chain(wiring.stages);
  const auto time_of = [&](const Plan& plan) {
    return simulate(add_transfers(plan, wiring), wiring, *costs, mbs).longest_stage_time();
  };
  double shortest = time_of(best);
  set_costs(chunks, *costs);
  for (const Otherwise what : {otherwise, Otherwise::kKeepOrder})
    for (const double patience : {0.0, 0.25, 0.5, 0.75, 1.0}) {
      std::optional<Plan> plan = ZeroBubble(chunks, caps, mbs, what, patience).play();
      const double time = plan ? time_of(*plan) : kNever;
      if (time >= shortest * (1 - 1e-9)) continue;
      shortest = time;
      best = std::move(*plan);
    }
  return best;
}

/// A chunk for each worker; an input gradient goes before any forward.
struct Handcrafted {
  const char* name;
  int64_t (*cap)(int64_t workers, int64_t w);
};
constexpr Handcrafted kH1{"zb_h1", [](int64_t p, int64_t w) { return 2 * (p - w) + w; }};
constexpr Handcrafted kH2{"zb_h2", [](int64_t p, int64_t w) { return 2 * (2 * (p - w) - 1) + 2 * w; }};

std::vector<Chunk> chunk_each(const char* name, const Placement& placement) {
  std::vector<Chunk> chunks;
  for (std::vector<int>& stages : contiguous_stages(name, placement))
    chunks.push_back({.worker = int(chunks.size()), .stages = std::move(stages), .forward_rank = kLast});
  return chunks;
}

Plan make(const Handcrafted& schedule, const Placement& placement, int mbs, const CostModel* costs) {
  expect_mbs(schedule.name, mbs);
  std::vector<Chunk> chunks = chunk_each(schedule.name, placement);
  std::vector<int64_t> caps;
  for (size_t w = 0; w < chunks.size(); ++w) caps.push_back(schedule.cap(int64_t(chunks.size()), int64_t(w)));
  return best_play(std::move(chunks), caps, mbs, Otherwise::kOvertake, costs);
}

/// The chunks of a V: workers 0 .. p - 1 and back. The last worker's run of stages is cut in the middle.
std::vector<Chunk> chunks_of_v(const char* name, const Placement& placement) {
  const int workers = count_workers(placement);
  std::vector<Chunk> chunks;
  for (size_t s = 0; s < placement.size(); ++s) {
    if (s == 0 || placement[s] != placement[s - 1]) chunks.push_back({.worker = placement[s], .stages = {}});
    chunks.back().stages.push_back(int(s));
  }
  const auto turn = chunks.begin() + std::min<ptrdiff_t>(workers - 1, ptrdiff_t(chunks.size()) - 1);
  const auto half = turn->stages.begin() + ptrdiff_t(turn->stages.size() / 2);
  Chunk back{.worker = turn->worker, .stages = {half, turn->stages.end()}};
  turn->stages.erase(half, turn->stages.end());
  const bool turns = !turn->stages.empty();
  chunks.insert(turn + 1, std::move(back));
  bool v = turns && int(chunks.size()) == 2 * workers;
  for (int c = 0; v && c < 2 * workers; ++c) v = chunks[size_t(c)].worker == std::min(c, 2 * workers - 1 - c);
  if (!v)
    throw ScheduleError(str(name, ": ", placement.size(), " stages on ", workers,
                            " workers, expected a V: on workers 0 to ", workers - 1, ", two there, and back to 0"));
  return chunks;
}

/// When worker w of p would take the first micro-batch's forward down, forward up, input gradient down and up the V.
struct BuildingBlock {
  int64_t down, up, back_down, back_up;
};
struct VShaped {
  const char* name;
  Otherwise otherwise;
  int64_t (*cap)(int64_t p);  // micro-batches
  BuildingBlock (*block)(int64_t p, int64_t w);
};
// Found by trying slopes of the four lines: of 1 to 13 workers and any number of micro-batches from 2 p - 1 on, none
// waits between its first action and its last.
constexpr VShaped kV{"zb_v", Otherwise::kOvertake, [](int64_t p) { return p; },
                     [](int64_t p, int64_t w) {
                       return BuildingBlock{w, 2 * p - 1 - w, 2 * p + 2 * w, 6 * p - 3 - 2 * w};
                     }};
// The lines of these two are those of Qi et al.; a shift keeps a worker's four actions in different sixths of the time.
constexpr VShaped kVHalf{"v_half", Otherwise::kKeepOrder, [](int64_t p) { return (p + 2) / 2; },
                         [](int64_t p, int64_t w) {
                           const int64_t shift = p % 2 == 0 ? 3 : 0;
                           return BuildingBlock{2 * w, 3 * p - w - 2, 3 * p + shift + 2 * w - 1, 6 * p + shift - w - 2};
                         }};
constexpr VShaped kVMin{"v_min", Otherwise::kKeepOrder, [](int64_t p) { return (p + 4) / 3; },
                        [](int64_t p, int64_t w) {
                          const int64_t shift = p % 3 == 0 ? 2 : 0;
                          return BuildingBlock{w, 2 * p - w - 1, 2 * p + shift + w, 4 * p + shift - w - 1};
                        }};

Plan make(const VShaped& schedule, const Placement& placement, int mbs, const CostModel* costs) {
  expect_mbs(schedule.name, mbs);
  std::vector<Chunk> chunks = chunks_of_v(schedule.name, placement);
  const size_t p = chunks.size() / 2;
  for (size_t w = 0; w < p; ++w) {
    const BuildingBlock b = schedule.block(int64_t(p), int64_t(w));
    Chunk &first = chunks[w], &second = chunks[2 * p - 1 - w];
    first.forward_rank = b.down;
    second.forward_rank = b.up;
    second.input_rank = b.back_down;
    first.input_rank = b.back_up;
  }
  const std::vector<int64_t> caps(p, 4 * schedule.cap(int64_t(p)));  // a micro-batch is two chunks of two halves each
  return best_play(std::move(chunks), caps, mbs, schedule.otherwise, costs);
}

}  // namespace

Plan zb_h1(const Placement& placement, int mbs) { return make(kH1, placement, mbs, nullptr); }
Plan zb_h2(const Placement& placement, int mbs) { return make(kH2, placement, mbs, nullptr); }
Plan zb_v(const Placement& placement, int mbs) { return make(kV, placement, mbs, nullptr); }
Plan v_half(const Placement& placement, int mbs) { return make(kVHalf, placement, mbs, nullptr); }
Plan v_min(const Placement& placement, int mbs) { return make(kVMin, placement, mbs, nullptr); }

Plan zb_h1_for(const Placement& placement, int mbs, const CostModel& costs) {
  return make(kH1, placement, mbs, &costs);
}
Plan zb_h2_for(const Placement& placement, int mbs, const CostModel& costs) {
  return make(kH2, placement, mbs, &costs);
}
Plan zb_v_for(const Placement& placement, int mbs, const CostModel& costs) { return make(kV, placement, mbs, &costs); }
Plan v_half_for(const Placement& placement, int mbs, const CostModel& costs) {
  return make(kVHalf, placement, mbs, &costs);
}
Plan v_min_for(const Placement& placement, int mbs, const CostModel& costs) {
  return make(kVMin, placement, mbs, &costs);
}

Plan zero_bubble(const Placement& placement, int mbs, const CostModel& costs, const std::vector<int64_t>& halves) {
  expect_mbs("zero_bubble", mbs);
  std::vector<Chunk> chunks = chunk_each("zero_bubble", placement);
  if (halves.size() != chunks.size())
    throw ScheduleError(str("zero_bubble: caps of ", halves.size(), " workers, the placement has ", chunks.size()));
  for (size_t w = 0; w < halves.size(); ++w)
    if (halves[w] < 2)
      throw ScheduleError(str("zero_bubble: worker ", w, " may keep ", halves[w],
                              " halves of a micro-batch's activations, expected at least 2"));
  return best_play(std::move(chunks), halves, mbs, Otherwise::kOvertake, &costs);
}

}  // namespace sluice
