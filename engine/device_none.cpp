// The answer about GPUs in a build without CUDA.
#include "engine/device.h"

namespace sluice {

CudaStatus cuda_status() { return {0, "this build has no CUDA"}; }

}  // namespace sluice
