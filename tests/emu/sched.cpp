// Runs the threads of a grid one after another on one host thread: block by block, in an order that CUDA allows.
// A thread keeps its stack only while it waits; whoever runs to the end leaves it to the next (fresh stacks cost ten
// times the work of an element-wise kernel).
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <numeric>
#include <random>

#include "emu/device.h"
#include "emu/fiber.h"
#include "emu/thread.h"

namespace emu {

constinit thread_local DeviceThread* current_thread = nullptr;

namespace {

constexpr size_t kArena = size_t{256} << 10, kRedZone = 64;
constexpr size_t kStaticShared = 48 << 10;  // what a kernel may declare

enum class State : uint8_t { kNew, kReady, kAtBarrier, kAtWarp, kDone };

struct Thread : DeviceThread {
  State state = State::kNew;
  Fiber* fiber = nullptr;
  // What it waits in.
  Site at{};
  WarpOp op{};
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;
};

struct Warp {
  unsigned live = 0, waiting = 0;  // lanes
};

/// What one launch leaves to the next.
struct Resources {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::byte* arena = static_cast<std::byte*>(std::aligned_alloc(256, kArena));  // shared memory of the running block
};
Resources& resources() {
  static auto& r = *new Resources;  // threads may run until the process ends
  return r;
}

bool same(Site a, Site b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }
std::string place(Site at) {
  const std::string path = at.file;
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(at.line);
}

class Grid {
 public:
  explicit Grid(const Launch& launch);
  void run();

  // For the device thread that runs.
  void barrier(Site at);
  uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int source, Site at);
  void* shared_object(const void* key, size_t bytes, size_t alignment);
  void thread_main();

 private:
  struct SharedObject {
    const void* key;
    std::byte* data;
  };

  std::vector<uint32_t> block_order();
  void run_block(uint32_t number);
  Thread* next();
  void give_fiber(Thread& t, Fiber* fiber);
  void leave(Fiber& from, Thread* to);
  void wait(Thread& me);
  void make_ready(Thread& t);
  Thread* finish(Thread& me);
  void open_barrier();
  void complete_group(const Thread& leader);
  uint64_t warp_result(const Thread& lane, unsigned group, unsigned ballot);
  void report_stuck();
  std::string in_block() const;
  Thread& lane(int warp, int i) { return threads_[size_t(warp * 32 + i)]; }

  const Launch& launch_;
  const Order order_;
  std::mt19937_64 random_;
  RunningBlock block_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::deque<Thread*> ready_;
  Thread* running_ = nullptr;
  int done_ = 0, at_barrier_ = 0;
  Fiber main_;
  Fiber* left_ = nullptr;  // where the last thread ended: free once nobody stands on it
  std::vector<SharedObject> shared_;
  size_t shared_end_ = 0, shared_bytes_ = 0;
};

Grid* active = nullptr;

void fiber_main() { active->thread_main(); }

Grid::Grid(const Launch& launch)
    : launch_(launch), order_(options().order), random_(options().seed * 0x9E3779B97F4A7C15u + launch.op) {
  const size_t n = size_t(launch.block.x) * launch.block.y * launch.block.z;
  threads_.resize(n);
  warps_.resize((n + 31) / 32);
  block_.launch = &launch_;
}

std::vector<uint32_t> Grid::block_order() {
  std::vector<uint32_t> blocks(size_t(launch_.grid.x) * launch_.grid.y * launch_.grid.z);
  std::iota(blocks.begin(), blocks.end(), 0u);
  if (order_ == Order::kLifo) std::reverse(blocks.begin(), blocks.end());
  if (order_ == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), random_);
  return blocks;
}

void Grid::run() {
  active = this;
  check_begin_grid(launch_);
  for (const uint32_t number : block_order()) run_block(number);
  check_end_grid();
  if (left_ != nullptr) resources().idle.push_back(left_);
  active = nullptr;
}

void Grid::run_block(uint32_t number) {
  const dim3 g = launch_.grid, b = launch_.block;
  block_.index = {number % g.x, number / g.x % g.y, number / (g.x * g.y)};
  block_.number = number;
  block_.barriers = 0;
  shared_.clear();
  shared_end_ = shared_bytes_ = 0;
  done_ = at_barrier_ = 0;
  std::fill(warps_.begin(), warps_.end(), Warp{});
  for (size_t i = 0; i < threads_.size(); ++i) {
    Thread& t = threads_[i] = Thread{};
    t.block = &block_;
    t.index = {unsigned(i) % b.x, unsigned(i) / b.x % b.y, unsigned(i) / (b.x * b.y)};
    t.number = int(i);
    warps_[i / 32].live |= 1u << (i % 32);
    ready_.push_back(&t);
  }
  check_begin_block(block_, resources().arena, kArena);
  leave(main_, next());
  if (done_ != int(threads_.size())) report_stuck();
}

Thread* Grid::next() {
  if (ready_.empty()) return nullptr;
  if (order_ == Order::kFifo) {
    Thread* const t = ready_.front();
    ready_.pop_front();
    return t;
  }
  if (order_ == Order::kRandom) std::swap(ready_[random_() % ready_.size()], ready_.back());
  Thread* const t = ready_.back();
  ready_.pop_back();
  return t;
}

void Grid::give_fiber(Thread& t, Fiber* fiber) {
  t.state = State::kReady;
  t.fiber = fiber;
  t.stack_begin = fiber->begin();
  t.stack_end = fiber->end();
}

/// To another thread, or, where nobody can go on, back to run_block().
void Grid::leave(Fiber& from, Thread* to) {
  running_ = to;
  if (to == nullptr) return from.switch_to(main_);
  if (to->state == State::kNew) {
    Resources& r = resources();
    if (r.idle.empty()) {
      r.fibers.push_back(std::make_unique<Fiber>(&fiber_main));
      r.idle.push_back(r.fibers.back().get());
    }
    give_fiber(*to, r.idle.back());
    r.idle.pop_back();
    to->fiber->restart();
  }
  from.switch_to(*to->fiber);
}

void Grid::thread_main() {
  for (;;) {
    Thread& me = *running_;
    current_thread = &me;
    launch_.kernel->call(launch_.kernel->function, launch_.args->argv.data());
    current_thread = nullptr;
    Thread* const to = finish(me);
    if (to != nullptr && to->state == State::kNew) {
      give_fiber(*to, me.fiber);
      running_ = to;
      continue;
    }
    if (left_ != nullptr) resources().idle.push_back(left_);
    left_ = me.fiber;
    leave(*me.fiber, to);  // never comes back: who gets this fiber next restarts it
  }
}

Thread* Grid::finish(Thread& me) {
  me.state = State::kDone;
  ++done_;
  Warp& warp = warps_[size_t(me.warp())];
  warp.live &= ~(1u << me.lane());
  for (int i = 0; i < 32 && warp.waiting != 0; ++i)
    if ((warp.waiting >> i & 1) != 0) complete_group(lane(me.warp(), i));
  open_barrier();
  return next();
}

void Grid::make_ready(Thread& t) {
  t.state = State::kReady;
  ready_.push_back(&t);
}

void Grid::wait(Thread& me) {
  Thread* const to = next();
  if (to != &me) leave(*me.fiber, to);
  running_ = &me;
  current_thread = &me;
}

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

/// Nobody can go on: threads wait for lanes that never come. They are dropped as they stand.
void Grid::report_stuck() {
  const Thread* waiting = nullptr;
  for (Thread& t : threads_) {
    if (t.state == State::kAtWarp && waiting == nullptr) waiting = &t;
    if (t.state != State::kDone) resources().idle.push_back(t.fiber);
  }
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

std::string Grid::in_block() const { return launch_.kernel->name + ", block " + std::to_string(block_.number); }

void* Grid::shared_object(const void* key, size_t bytes, size_t alignment) {
  for (const SharedObject& o : shared_)
    if (o.key == key) return o.data;
  current_thread = nullptr;
  const size_t step = std::max<size_t>(alignment, 16);
  const size_t offset = (shared_end_ + kRedZone + step - 1) / step * step;
  shared_bytes_ += bytes;
  if (shared_bytes_ + launch_.shared_bytes > kStaticShared)
    report_once(Report::kMisuse, launch_.kernel->name,
                in_block() + ": more than " + std::to_string(kStaticShared) + " bytes of shared memory");
  if (offset + bytes + kRedZone > kArena) throw std::bad_alloc();
  shared_end_ = offset + bytes;
  std::byte* const data = resources().arena + offset;
  std::fill_n(data, bytes, std::byte{0xff});  // NaN
  shared_.push_back({key, data});
  check_shared_object(data, bytes);
  current_thread = running_;
  return data;
}

}  // namespace

void run_grid(const Launch& launch) { Grid(launch).run(); }

unsigned index_of(Index index, int axis) {
  const DeviceThread& t = *current_thread;
  const auto pick = [axis](const auto& v) { return axis == 0 ? v.x : axis == 1 ? v.y : v.z; };
  switch (index) {
    case Index::kThread:
      return pick(t.index);
    case Index::kBlock:
      return pick(t.block->index);
    case Index::kBlockSize:
      return pick(t.block->launch->block);
    case Index::kGridSize:
      break;
  }
  return pick(t.block->launch->grid);
}

int lane_of_thread() { return current_thread->lane(); }
void block_barrier(Site at) { active->barrier(at); }
uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int source, Site at) {
  return active->warp_operation(op, mask, value, source, at);
}
void* shared_object(const void* key, size_t bytes, size_t alignment) {
  return active->shared_object(key, bytes, alignment);
}

}  // namespace emu
