// Runs the threads of a grid one after another on one host thread: block by block, in an order that CUDA allows.
// A thread keeps its stack only while it waits; whoever runs to the end leaves it to the next (fresh stacks cost ten
// times the work of an element-wise kernel).
#include "emu/sched.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "emu/dump.h"

namespace emu {

constinit thread_local DeviceThread* current_thread = nullptr;

namespace {

constexpr size_t kRedZone = 64;
constexpr size_t kStaticShared = 48 << 10;  // what a kernel may declare

/// What one launch leaves to the next.
struct Resources {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
};
Resources& resources() {
  static auto& r = *new Resources;  // threads may run until the process ends
  return r;
}

Grid* active = nullptr;

void fiber_main() { active->thread_main(); }

}  // namespace

const std::byte* SharedMemory::arena() {
  static const auto* const memory = static_cast<std::byte*>(std::aligned_alloc(256, kArena));
  return memory;
}

void SharedMemory::clear() {
  objects_.clear();
  end_ = bytes_ = 0;
}

void* SharedMemory::find(const void* key) const {
  for (const Object& o : objects_)
    if (o.key == key) return o.data;
  return nullptr;
}

void* SharedMemory::make(const void* key, size_t bytes, size_t alignment) {
  const size_t step = std::max<size_t>(alignment, 16), offset = (end_ + kRedZone + step - 1) / step * step;
  if (offset + bytes + kRedZone > kArena) throw std::bad_alloc();
  end_ = offset + bytes;
  bytes_ += bytes;
  auto* const data = const_cast<std::byte*>(arena()) + offset;
  std::fill_n(data, bytes, std::byte{0xff});  // NaN
  objects_.push_back({key, data});
  return data;
}

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
  check_begin_block(block_, SharedMemory::arena(), SharedMemory::kArena);
  leave(main_, next());
  if (done_ == int(threads_.size())) return;
  report_stuck();
  drop_waiting();
}

/// Where nobody can go on, threads are dropped as they stand.
void Grid::drop_waiting() {
  for (const Thread& t : threads_)
    if (t.state != State::kDone) resources().idle.push_back(t.fiber);
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
    park(me, to);
  }
}

/// Leaves the fiber of a thread that has ended. Nobody comes back to it: who gets it next restarts it.
void Grid::park(Thread& me, Thread* to) {
  if (left_ != nullptr) resources().idle.push_back(left_);
  left_ = me.fiber;
  leave(*me.fiber, to);
  std::abort();
}

void Grid::stop_thread() {
  current_thread = nullptr;
  Thread& me = *running_;
  park(me, finish(me));
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

std::string Grid::in_block() const { return launch_.kernel->name + ", block " + std::to_string(block_.number); }

void* Grid::shared_object(const void* key, size_t bytes, size_t alignment) {
  current_thread = nullptr;
  void* data = shared_.find(key);
  if (data == nullptr) {
    data = shared_.make(key, bytes, alignment);
    if (shared_.bytes() + launch_.shared_bytes > kStaticShared)
      report_once(Report::kMisuse, launch_.kernel->name,
                  in_block() + ": more than " + std::to_string(kStaticShared) + " bytes of shared memory");
    check_shared_object(data, bytes);
  }
  current_thread = running_;
  return data;
}

void run_grid(const Launch& launch) {
  const LaunchDump dump(launch);
  Grid(launch).run();
}
void stop_thread() { active->stop_thread(); }

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
