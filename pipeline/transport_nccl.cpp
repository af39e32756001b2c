// A communicator of two ranks for each line: what goes one way never waits for what goes the other. Calls do not block,
// so that a process that dies leaves nobody waiting inside NCCL.
#include "pipeline/transport_nccl.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "engine/error.h"
#include "engine/stream.h"

namespace sluice {
namespace {

constexpr int64_t kFirst = 256;  // bytes of the transfer that opens a line

void check(ncclResult_t code, const char* call) {
  if (code != ncclSuccess && code != ncclInProgress)
    throw TransportError(str(call, ": ", ncclGetErrorString(code), " (", int(code), ")"));
}

}  // namespace

bool has_nccl() { return true; }

std::string make_line_id() {
  ncclUniqueId id;
  check(ncclGetUniqueId(&id), "ncclGetUniqueId");
  return {id.internal, sizeof id.internal};
}

std::string gpu_identity(const Device& device) {
  cudaDeviceProp p{};
  const cudaError_t code = cudaGetDeviceProperties(&p, device.index);
  if (code != cudaSuccess)
    throw TransportError(str(device.text(), ": cudaGetDeviceProperties: ", cudaGetErrorString(code)));
  return {p.uuid.bytes, sizeof p.uuid.bytes};
}

NcclLine::NcclLine(const std::string& id, End end, Device device, const std::function<bool()>& ended)
    : end_(end), lane_(device) {
  lane_.cuda();  // makes its device current
  ncclUniqueId unique{};
  std::memcpy(unique.internal, id.data(), std::min(id.size(), sizeof unique.internal));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  check(ncclCommInitRankConfig(&comm_, 2, unique, int(end), &config), "ncclCommInitRankConfig");
  try {
    await(ended);
    // The first transfer makes the connection, for which both ends must be there: they are now.
    const std::vector<uint8_t> zeros(size_t(kFirst), 0);
    const Tensor first = Tensor::from<uint8_t>(lane_, zeros, {kFirst}, MemoryTag::kIo);
    move({first});
    await(ended);
    const Event done = lane_.record();
    while (!done.ready()) {
      if (ended()) throw Aborted("the run was ended");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  } catch (...) {
    abort();
    throw;
  }
}

NcclLine::~NcclLine() { abort(); }

void NcclLine::send(const std::vector<Tensor>& values, const Stream& from) {
  lane_.wait(from.record());
  move(values);
}
void NcclLine::recv(const std::vector<Tensor>& values) { move(values); }

void NcclLine::move(const std::vector<Tensor>& values) {
  const std::lock_guard lock(mutex_);
  if (aborted_) throw Aborted("the run was ended");
  CUstream_st* const stream = lane_.cuda().stream;
  const int other = 1 - int(end_);
  check(ncclGroupStart(), "ncclGroupStart");
  for (const Tensor& t : values) {
    if (!t.defined() || t.bytes() == 0) continue;
    t.storage()->record_use(lane_);
    if (end_ == End::kSender)
      check(ncclSend(t.cref().data, size_t(t.bytes()), ncclUint8, other, comm_, stream), "ncclSend");
    else
      check(ncclRecv(t.ref().data, size_t(t.bytes()), ncclUint8, other, comm_, stream), "ncclRecv");
  }
  check(ncclGroupEnd(), "ncclGroupEnd");
  await([this] { return aborted_.load(); });
}

/// Until the last call is done with; not what it queued.
void NcclLine::await(const std::function<bool()>& ended) {
  for (;;) {
    ncclResult_t state = ncclSuccess;
    check(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
    check(state, "NCCL");
    if (state == ncclSuccess) return;
    if (ended()) throw Aborted("the run was ended");
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void NcclLine::finish() {
  const Event done = lane_.record();
  while (!aborted_ && !done.ready()) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

void NcclLine::abort() {
  aborted_ = true;
  const std::lock_guard lock(mutex_);
  if (comm_ != nullptr) ncclCommAbort(comm_);
  comm_ = nullptr;
}

}  // namespace sluice
