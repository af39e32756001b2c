// What every .cu takes from CUDA: launching, indices, shared memory. Nothing else of CUDA's names is used but barriers
// and shuffles, so that a host compiler can run the same kernels over a stand-in of this vocabulary.
#pragma once

#include <algorithm>
#include <tuple>
#include <utility>

#include "kernels/common/context.h"
#include "kernels/common/cuda_check.cuh"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

namespace sluice {

/// The block's object of type T in shared memory; contents undefined at first. One object per type, so a kernel names a
/// struct for each purpose.
template <class T>
__device__ __forceinline__ T& block_shared() {
  __shared__ T object;
  return object;
}

/// Tells the runtime that a kernel exists: nvcc has done so.
template <class... P>
void announce_kernel(void (*)(P...)) {}

}  // namespace sluice
#else
#include "emu/device.h"  // on the include path of a build that runs kernels on the host: the same names
#endif

namespace sluice {

// ---- inside kernels: blocks and grids have one dimension ----

__device__ inline int lane() { return int(threadIdx.x) % 32; }
__device__ inline int warp() { return int(threadIdx.x) / 32; }
__device__ inline int64_t global_thread() { return int64_t(blockIdx.x) * int64_t(blockDim.x) + int64_t(threadIdx.x); }
__device__ inline int64_t grid_threads() { return int64_t(gridDim.x) * int64_t(blockDim.x); }

// ---- launching ----

inline constexpr int kThreads = 256;  // of every kernel that does not say otherwise

SLUICE_HD constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Grid {
  int64_t blocks;
  int threads;
};

/// For kernels that stride over the grid: a block per kThreads items, at most what fills the device eight times (2048
/// threads a multiprocessor), so that the last wave is short against the whole.
inline Grid grid_for(const CudaContext& c, int64_t items) {
  const int64_t most = int64_t(std::max(c.multiprocessors, 1)) * (2048 / kThreads) * 8;
  return {std::min(ceil_div(items, kThreads), most), kThreads};
}

/// Throws DeviceError with the kernel's name and shape when a launch was refused.
inline void check_launch(cudaError_t code, const char* name, int64_t blocks, int threads, size_t smem) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  throw DeviceError(str("launch of ", name, " (", blocks, " blocks, ", threads, " threads, ", smem,
                        " bytes of shared memory): ", cudaGetErrorString(code), " (", int(code), ")"));
}

/// The only way a kernel is launched. Arguments are converted to the kernel's parameter types; blocks must not be 0.
template <class... P, class... A>
void launch_kernel(CudaContext& c, const char* name, void (*kernel)(P...), int64_t blocks, int threads, size_t smem,
                   A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "one argument for each parameter of the kernel");
  announce_kernel(kernel);
  std::tuple<P...> values(static_cast<P>(std::forward<A>(args))...);
  const cudaError_t code = std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&value))..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(unsigned(blocks)), dim3(unsigned(threads)),
                                pointers, smem, c.stream);
      },
      values);
  check_launch(code, name, blocks, threads, smem);
}

}  // namespace sluice
