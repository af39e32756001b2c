// Inside the CUDA runtime's stand-in: a world of virtual GPUs with its streams, events, clocks and allocations.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "emu/rt.h"

namespace emu::rt {

/// How far each stream's work is known to have come: a vector clock, one count a stream.
class Clock {
 public:
  uint32_t of(uint32_t stream) const { return stream < counts_.size() ? counts_[stream] : 0; }
  void join(const Clock& other) {
    if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
    for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] = std::max(counts_[i], other.counts_[i]);
  }
  void set(uint32_t stream, uint32_t count) {
    if (counts_.size() <= stream) counts_.resize(size_t(stream) + 1);
    counts_[stream] = count;
  }

 private:
  std::vector<uint32_t> counts_;
};

struct Op {
  OpId id = 0;
  Stream* stream = nullptr;
  Work work;
  std::shared_ptr<const Clock> issued;  // what the host knew when it queued this
  Clock known;                          // at its start: what its stream, the host and `after` had done, and itself
  Clock clock;                          // the same and what follow() added
  bool running = false, done = false;
  double time = 0;  // of its end, in seconds of the steady clock
};

}  // namespace emu::rt

/// The runtime's own name for a stream: handles are addresses of these, and no address is used twice in a world.
struct CUstream_st {
  uint32_t number = 0;  // for people
  uint32_t slot = 0;    // in clocks
  int device = 0;
  bool legacy = false, blocking = false;
  bool destroyed = false;
  unsigned flags = 0;
  int priority = 0;
  std::deque<emu::rt::OpPtr> queue{};
  emu::rt::OpPtr last{};  // the newest operation queued
  emu::rt::Clock clock{};
  uint32_t count = 0;  // operations started
};

struct CUevent_st {
  uint32_t number = 0;
  int device = 0;
  unsigned flags = 0;
  bool destroyed = false;
  emu::rt::OpPtr recorded{};
};

namespace emu::rt {

/// An allocation of this world: cudaMalloc's, pinned memory, or host memory that was registered.
struct Memory {
  size_t bytes;
  int device;  // or kPinnedHost
  bool registered = false;
};

/// A virtual GPU.
struct Gpu {
  Stream* legacy = nullptr;
  Clock done;           // of all operations that have run on it
  std::set<int> peers;  // devices whose memory its kernels may use
  size_t used = 0;      // bytes
};
inline constexpr size_t kGpuBytes = size_t{64} << 30;

struct CallConfiguration {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
};
/// What the runtime keeps for each host thread.
struct HostThread {
  int device = 0;
  cudaError_t last = cudaSuccess;
  std::vector<CallConfiguration> configurations;
};

class World {
 public:
  explicit World(const Options& options);
  ~World();

  Stream& make_stream(int device, unsigned flags, int priority);
  CUevent_st& make_event(int device, unsigned flags);
  void destroy(Stream& s);
  Stream& legacy(int device);
  Stream& per_thread(int device);
  Gpu& gpu(int device) { return gpus_.at(size_t(device)); }

  OpPtr push(Stream& s, std::string name, Work work);
  /// Runs one operation that is ready, or a set that must run together; false when there is none.
  bool run_one();
  /// Runs operations until `done`. A world that is stuck reports a deadlock and has ended.
  template <class Done>
  cudaError_t drive(const char* call, Done done) {
    ++waiting_;
    while (sticky == cudaSuccess && !done())
      if (!run_one()) wait_for_others(call);
    --waiting_;
    return sticky;
  }
  /// All queues, for the end of a test.
  void drain();
  void host_sees(const Clock& clock);
  /// Runs operations until these are done; then the host sees what they did.
  cudaError_t wait(const char* call, const OpSet& ops);
  /// For everything that was queued on the device.
  cudaError_t wait_for_device(const char* call, int device);

  bool happens_before(OpId earlier, OpId later) const;
  std::vector<Stream*> busy_streams() const;
  void report_leaks();

  const Options options;
  const uint32_t number;  // of this world, never again
  cudaError_t sticky = cudaSuccess;
  std::map<const void*, Memory> memory;
  std::map<const void*, std::pair<Made, std::string>> things;  // made and not destroyed
  std::set<const void*> old_things;                            // reported before
  std::map<const void*, size_t> dynamic_shared;                // kernels with a raised limit of dynamic shared memory
  int host_functions = 0;                                      // queued

 private:
  bool gather_set(const OpPtr& head, OpSet& set) const;
  void start(Op& op);
  void run(Op& op);
  void finish(Op& op);
  void wait_for_others(const char* call);
  void report_deadlock(const char* call);
  uint32_t free_slot();
  void keep_legacy_order(const Stream& s, std::vector<OpPtr>& after) const;

  std::vector<Gpu> gpus_;
  std::deque<Stream> streams_;  // all there ever were, so that no handle is used twice
  std::deque<CUevent_st> events_;
  std::vector<Stream*> active_;                         // not destroyed, or with something queued
  std::vector<std::pair<uint32_t, uint32_t>> retired_;  // clock slots of destroyed streams, and their last counts
  uint32_t slots_ = 0;
  std::map<std::pair<size_t, int>, Stream*> per_thread_;
  std::shared_ptr<const Clock> host_ = std::make_shared<Clock>();
  std::vector<const Op*> running_;
  std::mt19937_64 random_;
  int waiting_ = 0;
};

/// The world of now.
World& world();
HostThread& host_thread();
/// Remembers an error for cudaGetLastError and returns it.
cudaError_t fail(cudaError_t code);
/// The same where the lock is not held.
cudaError_t refuse(cudaError_t code);

/// Changes whenever something is queued or has run.
uint32_t activity();
void note_activity();
/// Gives the lock to others for a moment.
void pause_locked();
/// For work on the host: gives the lock away, and takes it back.
void unlocked(const std::function<void()>& work);
/// Keeps host functions running while no host thread is in a call of the runtime.
void pump_host_functions();

// ---- memory: cudart_memory.cpp, arena.cpp ----

/// Ends an allocation of the world. Its addresses are not used again.
void forget_memory(const void* data);
/// The device (or kPinnedHost) of an address in this world's allocations; kPageable for any other.
inline constexpr int kPageable = -2;
int owner_of(const void* data);

/// Memory that is never given out twice. Device memory is closed to the host; pinned memory is open.
void* reserve_memory(size_t bytes, bool device);
void release_memory(void* data, size_t bytes, bool device);
/// Whether the address is of the range that device memory comes from.
bool in_device_range(const void* data);
/// Operations may run: device memory is open until close_device_memory().
void open_device_memory();
/// Also reports what the host touched since.
void close_device_memory();

}  // namespace emu::rt
