// Streams run work in order, asynchronously to the host, on CPU devices as on GPUs. Events order streams.
#pragma once

#include <exception>
#include <functional>
#include <memory>

#include "engine/device.h"
#include "kernels/common/context.h"

namespace sluice {

class Pool;

/// A point in a stream's work. Empty events are complete. Copies refer to the same point.
class Event {
 public:
  /// What a device gives: CPU events and CUDA events are the two users.
  class State {
   public:
    virtual ~State() = default;
    virtual bool ready() = 0;
    virtual void sync() = 0;    // host wait; rethrows the error that the stream had at this point
    virtual double time() = 0;  // seconds on a steady clock common to all devices; only after ready
  };

  Event() = default;
  explicit Event(std::shared_ptr<State> state) : state_(std::move(state)) {}

  bool ready() const { return !state_ || state_->ready(); }
  /// Blocks the host until the point is reached. Rethrows the first error of the stream before it.
  void sync() const {
    if (state_) state_->sync();
  }
  /// When the point was reached, in seconds on a steady clock. Call after sync() or when ready().
  double time() const { return state_ ? state_->time() : 0.0; }
  State* state() const { return state_.get(); }
  const std::shared_ptr<State>& shared_state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
};

/// Counters of one stream since it was made.
struct StreamStats {
  double busy_s = 0;       // time spent in kernels (CPU streams; waits are not counted)
  int64_t launches = 0;    // kernel calls enqueued
  int64_t flops = 0;       // of those calls, by their cost()
  int64_t host_waits = 0;  // sync() calls, and copies to host memory that is not page-locked on a GPU
};

/// A handle to an in-order queue of work on one device; copies share the queue. The queue drains when the last handle
/// and the last Storage of its pool are gone: dropping it waits for the work, but for work of the stream itself that
/// drops it. Work of a stream that this one waits for must not drop it. An error in queued work is kept: the work after
/// it is skipped, events recorded after it carry it, and sync() rethrows it.
class Stream {
 public:
  class Core;  // one per queue: the CPU worker or the CUDA stream, the pool, the context

  explicit Stream(Device device, CpuShare share = {});
  explicit Stream(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  Device device() const;
  bool is_cpu() const { return device().is_cpu(); }
  const CpuShare& share() const;

  /// CPU streams only: queues work for the worker. It must not touch the host's objects without synchronisation.
  void enqueue(std::function<void(CpuContext&)> work) const;
  /// CUDA streams only: the context for kernel calls; makes the stream's device current.
  CudaContext& cuda() const;

  /// Host memory that copies from this stream's device fill without the host waiting: page-locked where it is a GPU.
  std::shared_ptr<std::byte[]> host_memory(size_t bytes) const;

  /// The point after everything queued so far.
  Event record() const;
  /// Work queued from now on starts after `e`. Costs nothing when `e` is of this stream.
  void wait(const Event& e) const;
  /// Blocks the host until everything queued has run. Rethrows the stream's first error.
  void sync() const;

  Pool& pool() const;
  StreamStats stats() const;
  /// Plans made so far (library primitives, packed filters). Call after sync().
  int64_t plans_created() const;

  bool operator==(const Stream& o) const { return core_ == o.core_; }
  const std::shared_ptr<Core>& core() const { return core_; }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace sluice
