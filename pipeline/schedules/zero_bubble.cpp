// Zero bubble: weight gradients fill the time in which 1F1B waits. Workers are played through in steps of one action
// each, which forwards, input gradients and weight gradients take alike.
#include <algorithm>
#include <deque>
#include <limits>

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kLast = kNever / 4;  // a rank behind all others

/// Stages that a worker takes a micro-batch through at once.
struct Chunk {
  int worker = 0;
  std::vector<int> stages;
  /// The rank of the first micro-batch's forward and input gradient among the actions of their worker. Ranks grow by
  /// what a micro-batch takes there.
  int64_t forward_rank = 0, input_rank = 0;
  int64_t forwards = 0, inputs = 0, weights = 0;  // ended: micro-batches are taken in order, so counts say which
  std::vector<int64_t> forward_end{}, input_end{};
};

struct ZeroBubbleWorker {
  int64_t cap = 0;             // halves of a chunk's activations of a micro-batch that may be kept
  int64_t kept = 0;            // a forward keeps both halves, an input gradient lets go of one, a weight gradient too
  std::deque<size_t> owed{};   // chunks of the weight gradients that are due, oldest first
  std::vector<size_t> mine{};  // chunks
  Program program{};
};

/// What a worker does when the action of the lowest rank cannot run yet.
enum class Otherwise : uint8_t {
  kOvertake,  // the next one that can
  kKeepOrder  // a weight gradient
};

class ZeroBubble {
 public:
  ZeroBubble(std::vector<Chunk> chunks, std::vector<int64_t> caps, int mbs, Otherwise otherwise)
      : chunks_(std::move(chunks)), workers_(caps.size()), mbs_(mbs), otherwise_(otherwise) {
    for (size_t w = 0; w < caps.size(); ++w) workers_[w].cap = caps[w];
    for (size_t c = 0; c < chunks_.size(); ++c) {
      chunks_[c].forward_end.assign(size_t(mbs), kNever);
      chunks_[c].input_end.assign(size_t(mbs), kNever);
      workers_[size_t(chunks_[c].worker)].mine.push_back(c);
    }
  }

  Plan play() {
    const auto works = [&](const Chunk& c) { return c.weights < mbs_; };
    for (int64_t now = 0; std::any_of(chunks_.begin(), chunks_.end(), works); ++now) {
      std::vector<Move> moves;
      for (const ZeroBubbleWorker& w : workers_) moves.push_back(choice(w, now));
      for (size_t w = 0; w < workers_.size(); ++w) take(workers_[w], moves[w], now);
    }
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
    int64_t rank = kNever;
  };

  Move choice(const ZeroBubbleWorker& w, int64_t now) const {
    std::vector<Move> moves;
    for (const size_t c : w.mine) {
      const Chunk& k = chunks_[c];
      const int64_t each = 3 * int64_t(w.mine.size());  // actions of a micro-batch
      if (k.inputs < mbs_) moves.push_back({Do::kBackwardInput, c, k.input_rank + each * k.inputs});
      if (k.forwards < mbs_) moves.push_back({Do::kForward, c, k.forward_rank + each * k.forwards});
    }
    std::sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.rank < b.rank; });
    for (const Move& m : moves) {
      if (can(w, m, now)) return m;
      if (otherwise_ == Otherwise::kKeepOrder) break;
    }
    return w.owed.empty() ? Move{} : Move{Do::kBackwardWeight, w.owed.front(), 0};
  }

  bool can(const ZeroBubbleWorker& w, const Move& m, int64_t now) const {
    const Chunk& c = chunks_[m.chunk];
    if (m.what == Do::kForward)
      return w.kept + 2 <= w.cap && (m.chunk == 0 || chunks_[m.chunk - 1].forward_end[size_t(c.forwards)] <= now);
    const auto mb = size_t(c.inputs);
    return c.forward_end[mb] <= now && (m.chunk + 1 == chunks_.size() || chunks_[m.chunk + 1].input_end[mb] <= now);
  }

  void take(ZeroBubbleWorker& w, const Move& m, int64_t now) {
    if (m.what == Do::kUpdate) return;
    Chunk& c = chunks_[m.chunk];
    if (m.what == Do::kForward) {
      add_forward(w.program.period, c.stages, c.forwards);
      c.forward_end[size_t(c.forwards++)] = now + 1;
      w.kept += 2;
      return;
    }
    int64_t& count = m.what == Do::kBackwardInput ? c.inputs : c.weights;
    for (size_t i = c.stages.size(); i-- > 0;) w.program.period.push_back(act(m.what, c.stages[i], count));
    if (m.what == Do::kBackwardInput) {
      c.input_end[size_t(count)] = now + 1;
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
};

/// A chunk for each worker; an input gradient goes before any forward.
Plan handcrafted(const char* name, const Placement& placement, int mbs, int64_t (*cap)(int64_t workers, int64_t w)) {
  expect_mbs(name, mbs);
  std::vector<Chunk> chunks;
  std::vector<int64_t> caps;
  const auto stages_of = contiguous_stages(name, placement);
  for (size_t w = 0; w < stages_of.size(); ++w) {
    chunks.push_back({.worker = int(w), .stages = stages_of[w], .forward_rank = kLast});
    caps.push_back(cap(int64_t(stages_of.size()), int64_t(w)));
  }
  return ZeroBubble(std::move(chunks), std::move(caps), mbs, Otherwise::kOvertake).play();
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
Plan v_shaped(const char* name, const Placement& placement, int mbs, int64_t cap, Otherwise otherwise,
              BuildingBlock (*block)(int64_t p, int64_t w)) {
  expect_mbs(name, mbs);
  std::vector<Chunk> chunks = chunks_of_v(name, placement);
  const size_t p = chunks.size() / 2;
  for (size_t w = 0; w < p; ++w) {
    const BuildingBlock b = block(int64_t(p), int64_t(w));
    Chunk &first = chunks[w], &second = chunks[2 * p - 1 - w];
    first.forward_rank = b.down;
    second.forward_rank = b.up;
    second.input_rank = b.back_down;
    first.input_rank = b.back_up;
  }
  // A micro-batch is two chunks of two halves each.
  return ZeroBubble(std::move(chunks), std::vector<int64_t>(p, 4 * cap), mbs, otherwise).play();
}

}  // namespace

Plan zb_h1(const Placement& placement, int mbs) {
  return handcrafted("zb_h1", placement, mbs, [](int64_t p, int64_t w) { return 2 * (p - w) + w; });
}
Plan zb_h2(const Placement& placement, int mbs) {
  return handcrafted("zb_h2", placement, mbs, [](int64_t p, int64_t w) { return 2 * (2 * (p - w) - 1) + 2 * w; });
}

// Found by trying slopes of the four lines: of 1 to 13 workers and any number of micro-batches from 2 p - 1 on, none
// waits between its first action and its last.
Plan zb_v(const Placement& placement, int mbs) {
  return v_shaped("zb_v", placement, mbs, count_workers(placement), Otherwise::kOvertake, [](int64_t p, int64_t w) {
    return BuildingBlock{w, 2 * p - 1 - w, 2 * p + 2 * w, 6 * p - 3 - 2 * w};
  });
}
// The lines of these two are those of Qi et al.; a shift keeps a worker's four actions in different sixths of the time.
Plan v_half(const Placement& placement, int mbs) {
  return v_shaped("v_half", placement, mbs, (count_workers(placement) + 2) / 2, Otherwise::kKeepOrder,
                  [](int64_t p, int64_t w) {
                    const int64_t shift = p % 2 == 0 ? 3 : 0;
                    return BuildingBlock{2 * w, 3 * p - w - 2, 3 * p + shift + 2 * w - 1, 6 * p + shift - w - 2};
                  });
}
Plan v_min(const Placement& placement, int mbs) {
  return v_shaped("v_min", placement, mbs, (count_workers(placement) + 4) / 3, Otherwise::kKeepOrder,
                  [](int64_t p, int64_t w) {
                    const int64_t shift = p % 3 == 0 ? 2 : 0;
                    return BuildingBlock{w, 2 * p - w - 1, 2 * p + shift + w, 4 * p + shift - w - 1};
                  });
}

}  // namespace sluice
