// The answer about GPUs in a build with CUDA. Any error means that there is none: the CPU goes on.
#include <cuda_runtime_api.h>

#include "engine/device.h"
#include "kernels/common/error.h"

namespace sluice {

CudaStatus cuda_status() {
  int devices = 0;  // stays as it is when the call fails
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess) {
    cudaGetLastError();
    return {0, str("cudaGetDeviceCount: ", cudaGetErrorString(code), " (", cudaGetErrorName(code), ")")};
  }
  return {devices, devices == 0 ? "the driver reports no GPU" : ""};
}

}  // namespace sluice
