// The runtime's memory: allocations on devices and of pinned host memory, memory in stream order, what a pointer is.
#include <cstring>

#include "emu/world.h"

namespace emu::rt {
namespace {

std::string text_of(size_t bytes, int device) {
  return std::to_string(bytes) + " bytes of " +
         (device == kPinnedHost ? std::string("pinned memory") : "cuda:" + std::to_string(device));
}

struct Place {
  const void* begin;
  Memory memory;
  size_t offset;
};
/// Where the address lies among the allocations of this world.
std::optional<Place> place_of(const void* data) {
  auto it = world().memory.upper_bound(data);
  if (it == world().memory.begin()) return std::nullopt;
  --it;
  const auto offset = size_t(static_cast<const std::byte*>(data) - static_cast<const std::byte*>(it->first));
  if (offset >= it->second.bytes) return std::nullopt;
  return Place{it->first, it->second, offset};
}

void enter(void* data, const Memory& m) {
  world().memory[data] = m;
  if (m.device != kPinnedHost) world().gpu(m.device).used += m.bytes;
  made(data, Made::kMemory, text_of(m.bytes, m.device));
}

/// Null when the device has no more.
void* allocate(size_t bytes, int device) {
  const bool on_device = device != kPinnedHost;
  if (on_device && (bytes > kGpuBytes || world().gpu(device).used > kGpuBytes - bytes)) return nullptr;
  void* const data = reserve_memory(bytes, on_device);
  if (data == nullptr) return nullptr;
  std::memset(data, 0xff, bytes);  // NaN in every float type: it shows where a library reads what it must not
  enter(data, {bytes, device});
  return data;
}

cudaError_t malloc_host(void** data, size_t bytes) {
  const Lock lock;
  if (data == nullptr) return fail(cudaErrorInvalidValue);
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* const p = allocate(bytes, kPinnedHost);
  if (p == nullptr) return fail(cudaErrorMemoryAllocation);
  add_memory(p, bytes, kPinnedHost);
  mark_written(p, bytes);  // by the host, for all that is known
  *data = p;
  return sticky_error();
}

cudaError_t refuse_free(const char* call, const void* data) {
  report(in_device_range(data) ? Report::kUseAfterFree : Report::kMisuse,
         std::string(call) + ": no allocation begins at this address now");
  return fail(cudaErrorInvalidValue);
}

}  // namespace

void forget_memory(const void* data) {
  World& w = world();
  const auto it = w.memory.find(data);
  if (it == w.memory.end()) return;
  const Memory m = it->second;
  w.memory.erase(it);
  unmade(data);
  if (find_memory(data) != nullptr) remove_memory(data);
  if (m.device != kPinnedHost) w.gpu(m.device).used -= m.bytes;
  if (!m.registered) release_memory(const_cast<void*>(data), m.bytes, m.device != kPinnedHost);
}

int owner_of(const void* data) {
  const std::optional<Place> place = place_of(data);
  return place ? place->memory.device : kPageable;
}

bool is_usable(const void* data, size_t bytes, int device, const char* what) {
  if (bytes == 0) return true;
  const std::optional<Place> place = place_of(data);
  const std::string range = std::string(what) + ": " + std::to_string(bytes) + " bytes ";
  if (!place) {
    const bool freed = in_device_range(data);
    report(freed ? Report::kUseAfterFree : Report::kOutOfBounds,
           range + (freed ? "in no live allocation" : "that are not a device's"));
  } else if (place->offset + bytes > place->memory.bytes) {
    report(Report::kOutOfBounds, range + "at +" + std::to_string(place->offset) + " of " +
                                     text_of(place->memory.bytes, place->memory.device));
  } else if (!reaches(device, place->memory.device)) {
    report(Report::kWrongDevice, range + "of cuda:" + std::to_string(place->memory.device) +
                                     ", not reached from cuda:" + std::to_string(device));
  } else {
    return true;
  }
  return false;
}

}  // namespace emu::rt

using namespace emu;
using namespace emu::rt;

extern "C" {

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const Lock lock;
  if (data == nullptr) return fail(cudaErrorInvalidValue);
  *data = nullptr;
  if (sticky_error() != cudaSuccess) return fail(sticky_error());
  if (bytes == 0) return cudaSuccess;
  void* const p = allocate(bytes, current_device());
  if (p == nullptr) return fail(cudaErrorMemoryAllocation);
  add_memory(p, bytes, current_device());
  *data = p;
  return cudaSuccess;
}

/// Waits for the device that the memory is of, as the real one does.
cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  const Lock lock;
  const auto it = world().memory.find(data);
  if (it == world().memory.end() || it->second.device == kPinnedHost || !is_alive(data, Made::kMemory))
    return refuse_free("cudaFree", data);
  const cudaError_t code = world().wait_for_device("cudaFree", it->second.device);
  forget_memory(data);
  return fail(code);
}

cudaError_t cudaMallocHost(void** data, size_t bytes) { return malloc_host(data, bytes); }
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned flags) {
  if ((flags & ~unsigned(cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) != 0)
    return refuse(cudaErrorInvalidValue);
  return malloc_host(data, bytes);
}
cudaError_t cudaFreeHost(void* data) {
  if (data == nullptr) return cudaSuccess;
  const Lock lock;
  const auto it = world().memory.find(data);
  if (it == world().memory.end() || it->second.device != kPinnedHost || it->second.registered)
    return refuse_free("cudaFreeHost", data);
  cudaError_t code = cudaSuccess;
  for (int d = 0; d < devices() && code == cudaSuccess; ++d) code = world().wait_for_device("cudaFreeHost", d);
  forget_memory(data);
  return fail(code);
}

cudaError_t cudaHostRegister(void* data, size_t bytes, unsigned) {
  const Lock lock;
  if (data == nullptr || bytes == 0) return fail(cudaErrorInvalidValue);
  if (place_of(data)) return fail(cudaErrorHostMemoryAlreadyRegistered);
  enter(data, {bytes, kPinnedHost, true});
  add_memory(data, bytes, kPinnedHost);
  mark_written(data, bytes);
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* data) {
  const Lock lock;
  const auto it = world().memory.find(data);
  if (it == world().memory.end() || !it->second.registered) return fail(cudaErrorHostMemoryNotRegistered);
  forget_memory(data);
  return cudaSuccess;
}
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags) {
  const Lock lock;
  const auto place = place_of(host);
  if (device == nullptr || flags != 0 || !place || place->memory.device != kPinnedHost)
    return fail(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock;
  if (free == nullptr || total == nullptr) return fail(cudaErrorInvalidValue);
  *total = kGpuBytes;
  *free = kGpuBytes - world().gpu(current_device()).used;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out, const void* data) {
  const Lock lock;
  if (out == nullptr) return fail(cudaErrorInvalidValue);
  *out = {};
  const auto place = place_of(data);
  if (!place) {
    out->type = cudaMemoryTypeUnregistered;
    out->device = cudaInvalidDeviceId;
    out->hostPointer = const_cast<void*>(data);
    return cudaSuccess;
  }
  const bool pinned = place->memory.device == kPinnedHost;
  out->type = pinned ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  out->device = pinned ? current_device() : place->memory.device;
  out->devicePointer = const_cast<void*>(data);
  out->hostPointer = pinned ? const_cast<void*>(data) : nullptr;
  return cudaSuccess;
}

// ---- memory in stream order: alive for the checker between two operations; there are no pools to set up ----

cudaError_t cudaMallocAsync(void** data, size_t bytes, cudaStream_t stream) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaMallocAsync");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  if (data == nullptr) return fail(cudaErrorInvalidValue);
  *data = nullptr;
  if (bytes == 0) return cudaSuccess;
  const int device = device_of(*s);
  void* const p = allocate(bytes, device);
  if (p == nullptr) return fail(cudaErrorMemoryAllocation);
  push(*s, "cudaMallocAsync", {.run = [=](OpId) { add_memory(p, bytes, device); }});
  *data = p;
  return sticky_error();
}

cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  const Lock lock;
  Stream* const s = find_stream(stream, "cudaFreeAsync");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  const auto it = world().memory.find(data);
  if (it == world().memory.end() || it->second.device == kPinnedHost || !is_alive(data, Made::kMemory))
    return refuse_free("cudaFreeAsync", data);
  unmade(data);  // a second time it is refused
  push(*s, "cudaFreeAsync", {.run = [data, bytes = it->second.bytes](OpId op) {
    touch(data, bytes, true, op, "cudaFreeAsync");  // every use must be ordered before
    forget_memory(data);
  }});
  return sticky_error();
}

cudaError_t cudaMallocManaged(void** data, size_t, unsigned) {
  if (data != nullptr) *data = nullptr;
  return refuse(cudaErrorNotSupported);
}
}
