// The GPU's stream: a CUDA stream, its events on the common steady clock, and the copies between host and devices.
#include <cuda_runtime_api.h>

#include <chrono>
#include <iostream>
#include <mutex>
#include <set>

#include "engine/stream_core.h"
#include "engine/vendor/cublas.h"
#include "engine/vendor/cudnn.h"
#include "kernels/common/cuda_check.cuh"

namespace sluice {
namespace {

double steady_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// For destructors, which have nobody to throw to.
void log(cudaError_t code, const char* call) noexcept {
  if (code != cudaSuccess && code != cudaErrorCudartUnloading)
    std::cerr << "sluice: " << call << ": " << cudaGetErrorString(code) << '\n';
}

/// CUDA events that nobody refers to any more, to be recorded again: making one calls the driver.
class SpareEvents {
 public:
  explicit SpareEvents(int device) : device_(device) {}
  ~SpareEvents() {
    for (cudaEvent_t e : events_) log(cudaEventDestroy(e), "cudaEventDestroy");
  }
  SpareEvents(const SpareEvents&) = delete;
  SpareEvents& operator=(const SpareEvents&) = delete;

  cudaEvent_t take() {
    {
      const std::lock_guard lock(mutex_);
      if (!events_.empty()) {
        const cudaEvent_t e = events_.back();
        events_.pop_back();
        return e;
      }
    }
    cudaEvent_t e = nullptr;
    check(cudaSetDevice(device_), "cudaSetDevice");
    check(cudaEventCreateWithFlags(&e, cudaEventBlockingSync), "cudaEventCreateWithFlags");  // waiting leaves the core
    return e;
  }
  void give_back(cudaEvent_t e) {
    const std::lock_guard lock(mutex_);
    events_.push_back(e);
  }

 private:
  const int device_;
  std::mutex mutex_;
  std::vector<cudaEvent_t> events_;
};

/// A recorded CUDA event. Its time is that of an earlier one of the stream plus what CUDA measured between the two.
class CudaEvent final : public Event::State {
 public:
  CudaEvent(std::shared_ptr<SpareEvents> spares, const void* owner)
      : spares_(std::move(spares)), owner_(owner), event_(spares_->take()) {}
  ~CudaEvent() override { spares_->give_back(event_); }

  bool ready() override {
    const cudaError_t code = cudaEventQuery(event_);
    if (code == cudaErrorNotReady) return false;
    return true;  // a failed event is ready: sync() says why
  }
  void sync() override {
    check(cudaEventSynchronize(event_), "cudaEventSynchronize");
    if (error_) std::rethrow_exception(error_);
  }
  double time() override {
    const std::lock_guard lock(mutex_);
    if (base_) {
      float ms = 0;
      check(cudaEventElapsedTime(&ms, base_->event_, event_), "cudaEventElapsedTime");
      seconds_ = base_->time() + double(ms) * 1e-3;
      base_.reset();
    }
    return seconds_;
  }

  /// Recorded, but for its time: to be called once, before anybody else sees the event.
  void place(std::shared_ptr<CudaEvent> base, std::exception_ptr error) {
    base_ = std::move(base);
    error_ = std::move(error);
  }
  void place_at(double seconds) { seconds_ = seconds; }
  cudaEvent_t event() const { return event_; }
  const void* owner() const { return owner_; }

 private:
  const std::shared_ptr<SpareEvents> spares_;
  const void* owner_;
  const cudaEvent_t event_;
  std::exception_ptr error_;  // of the stream when this was recorded
  std::mutex mutex_;          // for the two below
  std::shared_ptr<CudaEvent> base_;
  double seconds_ = 0;
};

RawMemory device_memory(int device) {
  return {[device](size_t bytes) -> void* {
            void* p = nullptr;
            check(cudaSetDevice(device), "cudaSetDevice");
            const cudaError_t code = cudaMalloc(&p, bytes);
            if (code == cudaErrorMemoryAllocation) {
              cudaGetLastError();
              return nullptr;  // the pool says what was asked for, and by whom
            }
            check(code, "cudaMalloc");
            return p;
          },
          [device](void* p, size_t) {
            log(cudaSetDevice(device), "cudaSetDevice");
            log(cudaFree(p), "cudaFree");
          }};
}

struct CudaStreamDeleter {
  void operator()(CUstream_st* stream) const noexcept { log(cudaStreamDestroy(stream), "cudaStreamDestroy"); }
};
using CudaStreamHandle = std::unique_ptr<CUstream_st, CudaStreamDeleter>;

CudaStreamHandle make_stream(int device) {
  check(cudaSetDevice(device), "cudaSetDevice");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return CudaStreamHandle(stream);
}

class CudaCore final : public Stream::Core {
 public:
  explicit CudaCore(Device d)
      : Core(d, {}, device_memory(d.index)),
        stream_(make_stream(d.index)),
        cublaslt_(make_cublaslt()),
        cudnn_(make_cudnn(stream_.get())),
        spares_(std::make_shared<SpareEvents>(d.index)),
        workspace_(pool) {
    context_.device = d.index;
    context_.stream = stream_.get();
    context_.cublaslt = cublaslt_.get();
    context_.cudnn = cudnn_.get();
    check(cudaDeviceGetAttribute(&context_.multiprocessors, cudaDevAttrMultiProcessorCount, d.index),
          "cudaDeviceGetAttribute");
    context_.workspace = [this](size_t bytes) { return workspace_.lease(bytes); };
    clock_ = record_event();
    check(cudaEventSynchronize(clock_->event()), "cudaEventSynchronize");
    clock_->place_at(clock_made_ = steady_now());
  }
  ~CudaCore() override {
    log(cudaSetDevice(device.index), "cudaSetDevice");
    log(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");  // the pool's memory goes next
  }

  void enqueue(std::function<void(CpuContext&)>) override {
    throw DeviceError(str(device.text(), " is not a CPU device"));
  }
  CudaContext& cuda() override {
    make_current();
    return context_;
  }
  Event record() override {
    make_current();
    std::shared_ptr<CudaEvent> e = record_event();
    const std::lock_guard lock(mutex_);
    e->place(clock_, error_);
    renew_clock(e);
    return Event(e);
  }
  void wait(const Event& e) override {
    if (auto* other = dynamic_cast<CudaEvent*>(e.state())) {
      if (other->owner() == this) return;
      make_current();
      check(cudaStreamWaitEvent(stream_.get(), other->event(), 0), "cudaStreamWaitEvent");
      return;
    }
    wait_for_cpu(*e.state());
  }
  void sync() override {
    make_current();
    check(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    const std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
  }

  void copy(const void* src, Device src_device, void* dst, Device dst_device, size_t bytes) override {
    if (bytes == 0) return;
    make_current();
    if (src_device.is_cpu() || dst_device.is_cpu() || src_device == dst_device) {
      const cudaMemcpyKind kind = src_device.is_cpu()   ? cudaMemcpyHostToDevice
                                  : dst_device.is_cpu() ? cudaMemcpyDeviceToHost
                                                        : cudaMemcpyDeviceToDevice;
      check(cudaMemcpyAsync(dst, src, bytes, kind, stream_.get()), "cudaMemcpyAsync");
      return;
    }
    reach(src_device == device ? dst_device.index : src_device.index);
    check(cudaMemcpyPeerAsync(dst, dst_device.index, src, src_device.index, bytes, stream_.get()),
          "cudaMemcpyPeerAsync");
  }
  void upload(const void* host, void* dst, size_t bytes, bool keep) override {
    if (bytes == 0) return;
    make_current();
    check(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, stream_.get()), "cudaMemcpyAsync");
    if (keep && is_pinned(host)) check(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }
  void download(const void* src, void* host, size_t bytes) override {
    if (bytes == 0) return;
    make_current();
    if (!is_pinned(host)) host_waits.fetch_add(1, std::memory_order_relaxed);  // the call returns when it has run
    check(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, stream_.get()), "cudaMemcpyAsync");
  }
  std::shared_ptr<std::byte[]> host_memory(size_t bytes) override {
    make_current();
    void* data = nullptr;
    check(cudaMallocHost(&data, bytes), "cudaMallocHost");
    return {static_cast<std::byte*>(data), [](std::byte* p) { log(cudaFreeHost(p), "cudaFreeHost"); }};
  }
  double busy_s() const override { return 0; }
  int64_t plans_created() const override { return context_.plans.created(); }

 private:
  static constexpr double kClockLife = 8;  // seconds: CUDA gives times between events as float milliseconds

  void make_current() const { check(cudaSetDevice(device.index), "cudaSetDevice"); }

  std::shared_ptr<CudaEvent> record_event() {
    auto e = std::make_shared<CudaEvent>(spares_, this);
    check(cudaEventRecord(e->event(), stream_.get()), "cudaEventRecord");
    return e;
  }

  /// Now and then `e` becomes the event that later ones are timed against, so that the floats stay exact to 1 us. The
  /// old one settles its own time first; while that has not run, the chain grows by a link.
  void renew_clock(const std::shared_ptr<CudaEvent>& e) {
    const double now = steady_now();
    if (now - clock_made_ < kClockLife) return;
    if (clock_->ready() && !error_) clock_->time();
    clock_ = e;
    clock_made_ = now;
  }

  /// CPU memory is pageable: CUDA reads and writes it during the call that queues a copy, so work of a CPU stream that
  /// is waited for must have run by then. The host waits, not the GPU's stream.
  void wait_for_cpu(Event::State& e) {
    host_waits.fetch_add(1, std::memory_order_relaxed);
    try {
      e.sync();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  static bool is_pinned(const void* host) {
    cudaPointerAttributes attributes{};
    check(cudaPointerGetAttributes(&attributes, host), "cudaPointerGetAttributes");
    return attributes.type != cudaMemoryTypeUnregistered;
  }

  /// Opens the direct path to another GPU once; without one, copies go through the host.
  void reach(int peer) {
    const std::lock_guard lock(mutex_);
    if (!reached_.insert(peer).second) return;
    int can = 0;
    check(cudaDeviceCanAccessPeer(&can, device.index, peer), "cudaDeviceCanAccessPeer");
    if (can == 0) return;
    const cudaError_t code = cudaDeviceEnablePeerAccess(peer, 0);
    if (code == cudaErrorPeerAccessAlreadyEnabled)
      cudaGetLastError();  // another stream of this device has done so
    else
      check(code, "cudaDeviceEnablePeerAccess");
  }

  const CudaStreamHandle stream_;
  const CublasLtHandle cublaslt_;
  const CudnnHandle cudnn_;
  const std::shared_ptr<SpareEvents> spares_;
  Workspace workspace_;
  CudaContext context_;  // last of what kernels use: its plans go before the handles

  std::mutex mutex_;  // for what follows: several threads may record and wait
  std::exception_ptr error_;
  std::shared_ptr<CudaEvent> clock_;
  double clock_made_ = 0;
  std::set<int> reached_;
};

}  // namespace

std::shared_ptr<Stream::Core> make_cuda_core(Device d) { return std::make_shared<CudaCore>(d); }

}  // namespace sluice
