// Virtual GPUs: how many, which is current, what they say of themselves, who reaches whose memory.
#include <cstring>

#include "emu/world.h"

namespace emu::rt {
namespace {

// An sm_80 in what it allows, and small: two multiprocessors make kernels stride over their grids on test sizes.
constexpr int kMultiprocessors = 2, kThreadsEach = 2048, kBlocksEach = 32;
constexpr int kSharedBytes = 48 << 10, kSharedOptIn = 163 << 10, kSharedEach = 164 << 10;
constexpr int kRegisters = 64 << 10;

bool exists(int device) { return device >= 0 && device < devices(); }

std::optional<int> attribute(cudaDeviceAttr name) {
  switch (name) {
    case cudaDevAttrMaxThreadsPerBlock:
    case cudaDevAttrMaxBlockDimX:
    case cudaDevAttrMaxBlockDimY:
      return 1024;
    case cudaDevAttrMaxBlockDimZ:
      return 64;
    case cudaDevAttrMaxGridDimX:
      return 2147483647;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      return 65535;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return kSharedBytes;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return kSharedOptIn;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return kSharedEach;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      return 1 << 10;
    case cudaDevAttrWarpSize:
      return 32;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      return kRegisters;
    case cudaDevAttrMultiProcessorCount:
      return kMultiprocessors;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return kThreadsEach;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      return kBlocksEach;
    case cudaDevAttrComputeCapabilityMajor:
      return 8;
    case cudaDevAttrL2CacheSize:
      return 40 << 20;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrConcurrentKernels:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrStreamPrioritiesSupported:
      return 1;
    case cudaDevAttrAsyncEngineCount:
      return 3;
    case cudaDevAttrComputeCapabilityMinor:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrIntegrated:
      return 0;
    default:
      return std::nullopt;
  }
}

cudaDeviceProp properties(int device) {
  cudaDeviceProp p;
  std::memset(&p, 0, sizeof p);
  std::strncpy(p.name, "virtual GPU", sizeof p.name - 1);
  p.uuid.bytes[0] = char(device + 1);
  p.totalGlobalMem = kGpuBytes;
  p.sharedMemPerBlock = kSharedBytes;
  p.sharedMemPerBlockOptin = kSharedOptIn;
  p.sharedMemPerMultiprocessor = kSharedEach;
  p.reservedSharedMemPerBlock = 1 << 10;
  p.regsPerBlock = p.regsPerMultiprocessor = kRegisters;
  p.warpSize = 32;
  p.maxThreadsPerBlock = p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 2147483647;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.major = 8;
  p.multiProcessorCount = kMultiprocessors;
  p.maxThreadsPerMultiProcessor = kThreadsEach;
  p.maxBlocksPerMultiProcessor = kBlocksEach;
  p.unifiedAddressing = p.canMapHostMemory = p.concurrentKernels = 1;
  p.asyncEngineCount = 3;
  p.l2CacheSize = 40 << 20;
  p.pciBusID = device + 1;
  return p;
}

}  // namespace
}  // namespace emu::rt

using namespace emu;
using namespace emu::rt;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock;
  if (count == nullptr) return fail(cudaErrorInvalidValue);
  if (devices() == 0) return fail(cudaErrorNoDevice);
  *count = devices();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  const Lock lock;
  if (!exists(device)) return fail(cudaErrorInvalidDevice);
  set_current_device(device);
  return fail(sticky_error());
}
cudaError_t cudaInitDevice(int device, unsigned, unsigned) {
  const Lock lock;
  return exists(device) ? cudaSuccess : fail(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  const Lock lock;
  if (device == nullptr) return fail(cudaErrorInvalidValue);
  *device = current_device();
  return cudaSuccess;
}
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaGetDeviceFlags(unsigned* flags) {
  if (flags == nullptr) return refuse(cudaErrorInvalidValue);
  *flags = cudaDeviceScheduleAuto;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int device) {
  const Lock lock;
  if (value == nullptr) return fail(cudaErrorInvalidValue);
  if (!exists(device)) return fail(cudaErrorInvalidDevice);
  const std::optional<int> known = attribute(name);
  if (!known) {
    report(Report::kMisuse, "cudaDeviceGetAttribute: attribute " + std::to_string(int(name)) + " is not emulated");
    return fail(cudaErrorNotSupported);
  }
  *value = *known;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* out, int device) {
  const Lock lock;
  if (out == nullptr) return fail(cudaErrorInvalidValue);
  if (!exists(device)) return fail(cudaErrorInvalidDevice);
  *out = properties(device);
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
/// Ends what the device has; what was lost by a deadlock is usable again.
cudaError_t cudaDeviceReset() {
  const Lock lock;
  World& w = world();
  if (w.sticky == cudaSuccess) w.wait_for_device("cudaDeviceReset", current_device());
  w.sticky = cudaSuccess;
  const std::map<const void*, Memory> memory = w.memory;
  for (const auto& [data, m] : memory)
    if (m.device == current_device()) forget_memory(data);
  return cudaSuccess;
}

// ---- peers ----

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  const Lock lock;
  if (can == nullptr) return fail(cudaErrorInvalidValue);
  if (!exists(device) || !exists(peer)) return fail(cudaErrorInvalidDevice);
  *can = device != peer ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  const Lock lock;
  if (!exists(peer) || peer == current_device()) return fail(cudaErrorInvalidDevice);
  if (flags != 0) return fail(cudaErrorInvalidValue);
  const bool is_new = world().gpu(current_device()).peers.insert(peer).second;
  return is_new ? cudaSuccess : fail(cudaErrorPeerAccessAlreadyEnabled);
}
cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  const Lock lock;
  if (!exists(peer)) return fail(cudaErrorInvalidDevice);
  return world().gpu(current_device()).peers.erase(peer) != 0 ? cudaSuccess : fail(cudaErrorPeerAccessNotEnabled);
}
cudaError_t cudaDeviceGetP2PAttribute(int* value, cudaDeviceP2PAttr name, int from, int to) {
  const Lock lock;
  if (value == nullptr) return fail(cudaErrorInvalidValue);
  if (!exists(from) || !exists(to) || from == to) return fail(cudaErrorInvalidDevice);
  *value = name == cudaDevP2PAttrAccessSupported ? 1 : 0;
  return cudaSuccess;
}
}
