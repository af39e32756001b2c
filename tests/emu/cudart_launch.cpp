// Launching kernels, with the limits the real runtime enforces, and what nvcc's own host code calls to register and
// launch them. What is refused as not supported is refused here: graphs, cooperative launches, clusters.
#include "emu/world.h"

namespace emu::rt {
namespace {

constexpr size_t kSharedBytes = 48 << 10, kSharedOptIn = 163 << 10;

/// Mangled names by the address of nvcc's host stub. Programs register at their start, before any world is.
std::map<const void*, std::string>& stubs() {
  static auto* all = new std::map<const void*, std::string>;
  return *all;
}

const Kernel* kernel_of(const void* function) {
  if (const Kernel* k = find_kernel(function)) return k;
  const auto stub = stubs().find(function);
  if (stub == stubs().end()) return nullptr;
  const Kernel* k = find_kernel_named(stub->second.c_str());
  if (k == nullptr) report_once(Report::kMisuse, stub->second, "no host-compiled kernel for " + stub->second);
  return k;
}

cudaError_t check_shape(const dim3& grid, const dim3& block) {
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaErrorInvalidConfiguration;
  if (grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
  return cudaSuccess;
}

cudaError_t launch(const void* function, const CallConfiguration& c, void** arguments) {
  const Lock lock;
  const Kernel* const kernel = kernel_of(function);
  if (kernel == nullptr) return fail(cudaErrorInvalidDeviceFunction);
  if (const cudaError_t code = check_shape(c.grid, c.block)) return fail(code);
  const auto raised = world().dynamic_shared.find(function);
  if (c.shared_bytes > (raised == world().dynamic_shared.end() ? kSharedBytes : raised->second))
    return fail(cudaErrorInvalidValue);
  Stream* const s = find_stream(c.stream, "cudaLaunchKernel");
  if (s == nullptr) return fail(cudaErrorInvalidResourceHandle);
  if (s->device != current_device()) {
    report(Report::kWrongDevice, kernel->name + " is launched on a stream of cuda:" + std::to_string(s->device) +
                                     " while cuda:" + std::to_string(current_device()) + " is current");
    return fail(cudaErrorInvalidResourceHandle);
  }
  if (sticky_error() != cudaSuccess) return fail(sticky_error());
  Launch l{kernel, c.grid, c.block, c.shared_bytes, kernel->pack(arguments), 0, s->device};
  push(*s, kernel->name, {.run = [l](OpId op) mutable {
    l.op = op;
    run_grid(l);
  }});
  return fail(sticky_error());
}

cudaError_t not_supported(const char* call) {
  const Lock lock;
  report_once(Report::kMisuse, call, std::string(call) + " is not emulated");
  return fail(cudaErrorNotSupported);
}

}  // namespace
}  // namespace emu::rt

using namespace emu;
using namespace emu::rt;

extern "C" {

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                             cudaStream_t stream) {
  return launch(function, {grid, block, shared_bytes, stream}, arguments);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* function, void** arguments) {
  if (c == nullptr) return refuse(cudaErrorInvalidValue);
  if (c->numAttrs != 0) return not_supported("cudaLaunchKernelExC with attributes");
  return launch(function, {c->gridDim, c->blockDim, c->dynamicSmemBytes, c->stream}, arguments);
}
cudaError_t cudaLaunchCooperativeKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) {
  return not_supported("cudaLaunchCooperativeKernel");
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute name, int value) {
  const Lock lock;
  if (kernel_of(function) == nullptr) return fail(cudaErrorInvalidDeviceFunction);
  if (name == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
  if (name != cudaFuncAttributeMaxDynamicSharedMemorySize) return fail(cudaErrorInvalidValue);
  if (value < 0 || size_t(value) > kSharedOptIn) return fail(cudaErrorInvalidValue);
  world().dynamic_shared[function] = size_t(value);
  return cudaSuccess;
}
cudaError_t cudaFuncSetCacheConfig(const void*, cudaFuncCache) { return cudaSuccess; }
/// By threads and shared memory alone: registers are the compiler's.
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads,
                                                          size_t shared_bytes) {
  const Lock lock;
  if (blocks == nullptr || threads <= 0) return fail(cudaErrorInvalidValue);
  if (kernel_of(function) == nullptr) return fail(cudaErrorInvalidDeviceFunction);
  const size_t by_shared = (size_t{164} << 10) / (shared_bytes + 1024);
  *blocks = threads > 1024 ? 0 : std::min({32, 2048 / threads, int(by_shared)});
  return cudaSuccess;
}

// ---- what nvcc generates ----

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 0; }
void __cudaRegisterFunction(void**, const char* stub, char*, const char* mangled, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  const Lock lock;
  stubs()[stub] = mangled;
}
void __cudaRegisterVar(void**, char*, char*, const char* name, int, size_t, int, int) {
  const Lock lock;
  report(Report::kMisuse, std::string("__device__ variable ") + name + " is not emulated");
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, CUstream_st* stream) {
  const Lock lock;
  host_thread().configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes, void* stream) {
  const Lock lock;
  auto& stack = host_thread().configurations;
  if (stack.empty()) return fail(cudaErrorMissingConfiguration);
  const CallConfiguration c = stack.back();
  stack.pop_back();
  *grid = c.grid;
  *block = c.block;
  *shared_bytes = c.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = c.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(stub));
  return cudaSuccess;
}
cudaError_t cudaGetKernel(cudaKernel_t* kernel, const void* stub) { return __cudaGetKernel(kernel, stub); }
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared_bytes,
                               cudaStream_t stream) {
  return launch(kernel, {grid, block, shared_bytes, stream}, arguments);
}

// ---- not supported: an operation of a captured graph has no place in a stream's clock yet ----

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  return not_supported("cudaStreamBeginCapture");
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return not_supported("cudaStreamEndCapture"); }
cudaError_t cudaGraphCreate(cudaGraph_t*, unsigned) { return not_supported("cudaGraphCreate"); }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long) {
  return not_supported("cudaGraphInstantiate");
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return not_supported("cudaGraphLaunch"); }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return not_supported("cudaGraphDestroy"); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return not_supported("cudaGraphExecDestroy"); }
cudaError_t cudaMemPoolCreate(cudaMemPool_t*, const cudaMemPoolProps*) { return not_supported("cudaMemPoolCreate"); }
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t*, int) { return not_supported("cudaDeviceGetDefaultMemPool"); }
}
