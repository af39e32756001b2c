// check(cudaError_t): turns a failed call of the CUDA runtime into a DeviceError that names the call, code and place.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/common/error.h"

namespace sluice {

/// Throws OutOfMemory for exhausted device memory, DeviceError for everything else.
inline void check(cudaError_t code, const char* call, Where at = Where::here()) {
  if (code == cudaSuccess) return;
  cudaGetLastError();  // forgets an error that the context survives; the others come back with the next call
  const std::string text = str(call, ": ", cudaGetErrorString(code), " (", cudaGetErrorName(code), " ", int(code),
                               "), at ", at.file, ":", at.line);
  if (code == cudaErrorMemoryAllocation) throw OutOfMemory(text);
  throw DeviceError(text);
}

}  // namespace sluice
