// The scheduler of one launch: which thread of which block runs next, and where threads wait for each other.
#pragma once

#include <deque>
#include <random>

#include "emu/device.h"
#include "emu/fiber.h"
#include "emu/thread.h"

namespace emu {

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

/// The shared memory of the running block: objects by key, with red zones between them.
class SharedMemory {
 public:
  void clear();
  /// The object under the key, made at the first call; null when there is no such object yet.
  void* find(const void* key) const;
  void* make(const void* key, size_t bytes, size_t alignment);
  size_t bytes() const { return bytes_; }
  static const std::byte* arena();
  static constexpr size_t kArena = size_t{256} << 10;

 private:
  struct Object {
    const void* key;
    std::byte* data;
  };
  std::vector<Object> objects_;
  size_t end_ = 0, bytes_ = 0;
};

class Grid {
 public:
  explicit Grid(const Launch& launch);
  void run();

  // For the device thread that runs.
  void barrier(Site at);
  uint64_t warp_operation(WarpOp op, unsigned mask, uint64_t value, int source, Site at);
  void* shared_object(const void* key, size_t bytes, size_t alignment);
  void thread_main();
  [[noreturn]] void stop_thread();

 private:
  std::vector<uint32_t> block_order();
  void run_block(uint32_t number);
  Thread* next();
  void give_fiber(Thread& t, Fiber* fiber);
  void leave(Fiber& from, Thread* to);
  void wait(Thread& me);
  void make_ready(Thread& t);
  Thread* finish(Thread& me);
  [[noreturn]] void park(Thread& me, Thread* to);
  void drop_waiting();
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
  SharedMemory shared_;
};

}  // namespace emu
