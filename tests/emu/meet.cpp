// Where the threads of a block meet: barriers, and the operations of a warp; and what is wrong when they do not.
#include <algorithm>
#include <bit>
#include <cstring>

#include "emu/sched.h"

namespace emu {
namespace {

bool same(Site a, Site b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }
std::string place(Site at) {
  const std::string path = at.file;
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(at.line);
}

}  // namespace

void Grid::barrier(Site at) {
  Thread& me = *running_;
  current_thread = nullptr;
  me.state = State::kAtBarrier;
  me.at = at;
  ++at_barrier_;
  open_barrier();
  wait(me);
}

/// Once all threads that have not left are there.
void Grid::open_barrier() {
  if (at_barrier_ == 0 || at_barrier_ + done_ != int(threads_.size())) return;
  const Thread* first = nullptr;
  for (Thread& t : threads_) {
    if (t.state != State::kAtBarrier) continue;
    if (first == nullptr) first = &t;
    if (!same(t.at, first->at))
      report_once(Report::kBarrierDivergence, place(first->at),
                  in_block() + ": threads " + std::to_string(first->number) + " and " + std::to_string(t.number) +
                      " wait at different barriers, " + place(first->at) + " and " + place(t.at));
    t.interval = 0;
    make_ready(t);
  }
  if (done_ > 0)
    report_once(Report::kBarrierDivergence, place(first->at),
                in_block() + ": " + std::to_string(done_) + " of " + std::to_string(threads_.size()) +
                    " threads have left before the barrier at " + place(first->at));
  ++block_.barriers;
  at_barrier_ = 0;
}

uint64_t Grid::warp_operation(WarpOp op, unsigned mask, uint64_t value, int source, Site at) {
  Thread& me = *running_;
  current_thread = nullptr;
  const unsigned bit = 1u << me.lane();
  if ((mask & bit) == 0)
    report_once(Report::kWarpMask, place(at),
                in_block() + ": lane " + std::to_string(me.lane()) + " is not in the mask it passes at " + place(at));
  me.state = State::kAtWarp;
  me.at = at;
  me.op = op;
  me.mask = mask | bit;
  me.value = value;
  me.source = source;
  warps_[size_t(me.warp())].waiting |= bit;
  complete_group(me);
  wait(me);
  return me.result;
}

/// Lets the lanes of `leader`'s mask go once all that have not left are there with the same operation.
void Grid::complete_group(const Thread& leader) {
  Warp& warp = warps_[size_t(leader.warp())];
  const unsigned group = leader.mask & warp.live;
  if ((warp.waiting & group) != group) return;
  for (unsigned left = group; left != 0; left &= left - 1) {
    const Thread& t = lane(leader.warp(), std::countr_zero(left));
    if (t.mask != leader.mask || t.op != leader.op) return;
  }
  unsigned ballot = 0;
  std::array<uint32_t, 32> seen{};
  for (unsigned left = group; left != 0; left &= left - 1) {
    const int i = std::countr_zero(left);
    Thread& t = lane(leader.warp(), i);
    if (t.value != 0) ballot |= 1u << i;
    if (t.op != WarpOp::kSync) continue;
    ++t.seen[size_t(i)];
    for (size_t k = 0; k < 32; ++k) seen[k] = std::max(seen[k], t.seen[k]);
  }
  for (unsigned left = group; left != 0; left &= left - 1) {
    Thread& t = lane(leader.warp(), std::countr_zero(left));
    t.result = warp_result(t, group, ballot);
    if (t.op == WarpOp::kSync) {
      t.seen = seen;
      t.interval = 0;
    }
    make_ready(t);
  }
  warp.waiting &= ~group;
}

uint64_t Grid::warp_result(const Thread& t, unsigned group, unsigned ballot) {
  if (t.op != WarpOp::kShuffle) return ballot;
  if ((group >> t.source & 1) != 0) return lane(t.warp(), t.source).value;
  report_once(Report::kWarpMask, place(t.at),
              in_block() + ": lane " + std::to_string(t.lane()) + " reads lane " + std::to_string(t.source) +
                  ", which takes no part, at " + place(t.at));
  return 0x7fc0deadffc0deadu;
}

/// Nobody can go on: threads wait for lanes that never come.
void Grid::report_stuck() {
  const Thread* waiting = nullptr;
  for (const Thread& t : threads_)
    if (t.state == State::kAtWarp && waiting == nullptr) waiting = &t;
  const unsigned missing = waiting->mask & warps_[size_t(waiting->warp())].live;
  bool elsewhere = false;  // at a warp operation, but at another one
  std::string text =
      in_block() + ": lane " + std::to_string(waiting->lane()) + " waits for ever at " + place(waiting->at) + " for";
  for (unsigned left = missing; left != 0; left &= left - 1) {
    const Thread& t = lane(waiting->warp(), std::countr_zero(left));
    if (t.state == State::kAtWarp && t.mask == waiting->mask && t.op == waiting->op) continue;
    elsewhere |= t.state == State::kAtWarp;
    text += " lane " + std::to_string(t.lane()) + " (at " + place(t.at) + ")";
  }
  report_once(elsewhere ? Report::kWarpMask : Report::kDeadlock, place(waiting->at), text);
}

}  // namespace emu
