// The Stream handle: forwards to the CPU worker or the CUDA stream.
#include "engine/stream.h"

#include "engine/build_config.h"
#include "engine/launch.h"
#include "engine/stream_core.h"

namespace sluice {

namespace {
std::shared_ptr<Stream::Core> make_core(Device d, CpuShare share) {
  expect_exists(d);
  if (d.is_cpu()) return make_cpu_core(d, std::move(share));
  if constexpr (kWithCuda)
    return make_cuda_core(d);
  else
    throw DeviceError(str(d.text(), ": this build has no CUDA"));
}
}  // namespace

Stream::Stream(Device device, CpuShare share) : core_(make_core(device, std::move(share))) {}

Device Stream::device() const { return core_->device; }
const CpuShare& Stream::share() const { return core_->cpu_share; }
void Stream::enqueue(std::function<void(CpuContext&)> work) const { core_->enqueue(std::move(work)); }
CudaContext& Stream::cuda() const { return core_->cuda(); }
std::shared_ptr<std::byte[]> Stream::host_memory(size_t bytes) const { return core_->host_memory(bytes); }
Event Stream::record() const { return core_->record(); }
void Stream::wait(const Event& e) const {
  if (e.state() != nullptr) core_->wait(e);
}
void Stream::sync() const {
  core_->host_waits.fetch_add(1, std::memory_order_relaxed);
  core_->sync();
}
Pool& Stream::pool() const { return core_->pool; }
StreamStats Stream::stats() const {
  return {core_->busy_s(), core_->launches.load(), core_->flops.load(), core_->host_waits.load()};
}
int64_t Stream::plans_created() const { return core_->plans_created(); }

void count_launch(const Stream& s, const Cost& cost) {
  s.core()->launches.fetch_add(1, std::memory_order_relaxed);
  s.core()->flops.fetch_add(cost.flops, std::memory_order_relaxed);
}

}  // namespace sluice
