// What is behind a Stream: the CPU worker and the CUDA stream are its two implementations. Internal to the engine.
#pragma once

#include <atomic>
#include <utility>

#include "engine/storage.h"
#include "engine/stream.h"

namespace sluice {

class Stream::Core {
 public:
  Core(Device d, CpuShare share, RawMemory raw) : device(d), cpu_share(std::move(share)), pool(d, std::move(raw)) {}
  virtual ~Core() = default;
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  virtual void enqueue(std::function<void(CpuContext&)> work) = 0;  // CPU only
  virtual CudaContext& cuda() = 0;                                  // CUDA only
  virtual Event record() = 0;
  virtual void wait(const Event& e) = 0;
  /// For the reuse of memory: work queued from now on starts after `e`, and the error that `e` may carry stays there,
  /// since it is no input of this stream.
  virtual void wait_for_memory(const Event& e) { wait(e); }
  virtual void sync() = 0;
  /// Queues a copy of `bytes`; either side may be on another device that this one can reach.
  virtual void copy(const void* src, Device src_device, void* dst, Device dst_device, size_t bytes) = 0;
  /// Host memory to this device and back. With `keep`, the host range is read before the call returns.
  virtual void upload(const void* host, void* dst, size_t bytes, bool keep) = 0;
  virtual void download(const void* src, void* host, size_t bytes) = 0;
  virtual std::shared_ptr<std::byte[]> host_memory(size_t bytes) { return std::make_unique<std::byte[]>(bytes); }
  virtual double busy_s() const = 0;
  virtual int64_t plans_created() const = 0;

  const Device device;
  const CpuShare cpu_share;
  Pool pool;
  std::atomic<int64_t> launches{0}, flops{0};
  std::atomic<int64_t> host_waits{0};
};

/// Scratch of a stream's kernels: grows to the largest request and stays. For the thread that runs or enqueues them.
class Workspace {
 public:
  explicit Workspace(Pool& pool) : pool_(pool) {}
  void* lease(size_t bytes) {
    if (bytes > bytes_) {
      if (data_ != nullptr)
        pool_.free_raw(std::exchange(data_, nullptr), std::exchange(bytes_, 0), MemoryTag::kWorkspace);
      data_ = pool_.allocate_raw(bytes, MemoryTag::kWorkspace);
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  Pool& pool_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

std::shared_ptr<Stream::Core> make_cpu_core(Device d, CpuShare share);
std::shared_ptr<Stream::Core> make_cuda_core(Device d);  // defined in builds with CUDA only

}  // namespace sluice
