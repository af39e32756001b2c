// The CPU device's stream: an in-order worker thread with its own OpenMP team and cores.
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/sanitizer.h"
#include "engine/stream_core.h"

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point t) { return std::chrono::duration<double>(t.time_since_epoch()).count(); }

class CpuEvent final : public Event::State {
 public:
  explicit CpuEvent(const void* owner) : owner_(owner) {}

  bool ready() override {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  void sync() override {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return done_; });
    if (error_) std::rethrow_exception(error_);
  }
  double time() override {
    const std::lock_guard lock(mutex_);
    return seconds(when_);
  }
  void complete(std::exception_ptr error) {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
      error_ = std::move(error);
      when_ = Clock::now();
    }
    condition_.notify_all();
  }
  /// Whether work queued on `stream` from now on follows this point anyway, with nothing to tell it. `stream` may only
  /// be compared with the owner of a point that is still to come: a finished one's address may belong to another.
  bool precedes(const void* stream) {
    const std::lock_guard lock(mutex_);
    return done_ ? !error_ : owner_ == stream;
  }

 private:
  const void* owner_;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool done_ = false;
  std::exception_ptr error_;
  Clock::time_point when_;
};

void* map_pages(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t padded = bytes + kHuge;
  void* raw = mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto base = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (base + kHuge - 1) / kHuge * kHuge;
  if (aligned > base) munmap(raw, aligned - base);
  const uintptr_t end = aligned + bytes;
  if (base + padded > end) munmap(reinterpret_cast<void*>(end), base + padded - end);
  madvise(reinterpret_cast<void*>(aligned), bytes, MADV_HUGEPAGE);  // advice: without huge pages it only runs slower
  return reinterpret_cast<void*>(aligned);
}

RawMemory system_memory() {
  constexpr size_t kPage = 4096;
  auto whole_pages = [](size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; };
  return {[=](size_t bytes) { return map_pages(whole_pages(bytes)); },
          [=](void* p, size_t bytes) {
            unpoison(p, bytes);
            munmap(p, whole_pages(bytes));
          }};
}

class CpuCore final : public Stream::Core {
 public:
  CpuCore(Device d, CpuShare share)
      : Core(d, std::move(share), system_memory()), workspace_(pool), outer_workspace_(pool) {
    context_.team = cpu_share.team;
    context_.workspace = [this](size_t bytes) { return workspace_.lease(bytes); };
    context_.outer_workspace = [this](size_t bytes) { return outer_workspace_.lease(bytes); };
    worker_ = std::thread([this] {
      run();
      if (outlived_) delete this;
    });
  }
  ~CpuCore() override {
    if (!worker_.joinable()) return;  // this is the worker, retired
    push({.kind = Task::kStop});
    worker_.join();
  }
  /// The last handle is gone. When it was dropped by this stream's own work, the worker, which can't wait for itself,
  /// ends when the queue is empty and cleans up.
  static void retire(CpuCore* core) {
    if (core->worker_.get_id() != std::this_thread::get_id()) {
      delete core;
      return;
    }
    core->worker_.detach();
    core->outlived_ = true;
    core->push({.kind = Task::kStop});
  }

  void enqueue(std::function<void(CpuContext&)> work) override {
    if (!cpu_share.dry) push({.kind = Task::kWork, .work = std::move(work)});
  }
  CudaContext& cuda() override { throw DeviceError(str(device.text(), " is not a CUDA device")); }
  Event record() override {
    auto state = std::make_shared<CpuEvent>(this);
    push({.kind = Task::kRecord, .event = state});
    return Event(state);
  }
  void wait(const Event& e) override {
    if (!precedes(e)) push({.kind = Task::kWait, .event = e.shared_state()});
  }
  void wait_for_memory(const Event& e) override {
    if (!precedes(e)) push({.kind = Task::kWaitForMemory, .event = e.shared_state()});
  }
  void sync() override { record().sync(); }
  void copy(const void* src, Device src_device, void* dst, Device dst_device, size_t bytes) override {
    if (!src_device.is_cpu() || !dst_device.is_cpu())
      throw DeviceError(str("copy from ", src_device.text(), " to ", dst_device.text(),
                            ": a CPU stream reaches CPU memory only; queue it on the GPU's stream"));
    if (bytes > 0) enqueue([=](CpuContext&) { std::memcpy(dst, src, bytes); });
  }
  void upload(const void* host, void* dst, size_t bytes, bool keep) override {
    if (bytes == 0) return;
    if (!keep) return enqueue([=](CpuContext&) { std::memcpy(dst, host, bytes); });
    const auto* begin = static_cast<const std::byte*>(host);
    enqueue([dst, copy = std::vector<std::byte>(begin, begin + bytes)](CpuContext&) {
      std::memcpy(dst, copy.data(), copy.size());
    });
  }
  void download(const void* src, void* host, size_t bytes) override {
    if (bytes > 0) enqueue([=](CpuContext&) { std::memcpy(host, src, bytes); });
  }
  double busy_s() const override { return double(busy_ns_.load(std::memory_order_relaxed)) * 1e-9; }
  int64_t plans_created() const override { return context_.plans.created(); }

 private:
  struct Task {
    enum Kind { kWork, kRecord, kWait, kWaitForMemory, kStop } kind;
    std::function<void(CpuContext&)> work{};
    std::shared_ptr<Event::State> event{};
  };

  bool precedes(const Event& e) const {
    auto* state = dynamic_cast<CpuEvent*>(e.state());
    return state != nullptr && state->precedes(this);
  }
  void push(Task t) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(t));
    }
    condition_.notify_one();
  }
  Task pop() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return !queue_.empty(); });
    Task t = std::move(queue_.front());
    queue_.pop_front();
    return t;
  }

  void bind() const {  // before the first parallel region: the team inherits the cores
    if (!cpu_share.cores.empty()) {
      cpu_set_t set;
      CPU_ZERO(&set);
      for (int core : cpu_share.cores) CPU_SET(size_t(core), &set);
      pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // fails only for cores that vanished since
    }
    omp_set_num_threads(cpu_share.team);
  }

  void run() {
    bind();
    for (;;) {
      Task t = pop();
      switch (t.kind) {
        case Task::kStop:
          return;
        case Task::kRecord:
          static_cast<CpuEvent&>(*t.event).complete(error_);
          break;
        case Task::kWait:
          guard([&] { t.event->sync(); });
          break;
        case Task::kWaitForMemory:
          try {
            if (!error_) t.event->sync();
          } catch (...) {  // the other stream's work was skipped: it uses the memory no more
          }
          break;
        case Task::kWork: {
          const auto begin = Clock::now();
          guard([&] { t.work(context_); });
          const std::chrono::nanoseconds spent = Clock::now() - begin;
          busy_ns_.fetch_add(spent.count(), std::memory_order_relaxed);
        }
      }
    }
  }
  /// The first error stays; what was queued behind it is skipped.
  template <class F>
  void guard(F&& f) {
    if (error_) return;
    try {
      f();
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  CpuContext context_;  // worker thread only, but for plans_created() after a sync
  Workspace workspace_, outer_workspace_;
  std::exception_ptr error_;  // worker thread only
  bool outlived_ = false;     // worker thread only: no handle is left
  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<Task> queue_;
  std::atomic<int64_t> busy_ns_{0};
  std::thread worker_;
};

}  // namespace

std::shared_ptr<Stream::Core> make_cpu_core(Device d, CpuShare share) {
  return {new CpuCore(d, std::move(share)), CpuCore::retire};
}

}  // namespace sluice
