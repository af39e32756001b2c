// Making and ending cuDNN handles.
#include "engine/vendor/cudnn.h"

#include "kernels/common/cudnn_check.cuh"

namespace sluice {

void CudnnDeleter::operator()(cudnnContext* handle) const noexcept { cudnnDestroy(handle); }

CudnnHandle make_cudnn(CUstream_st* stream) {
  cudnnHandle_t raw = nullptr;
  check(cudnnCreate(&raw), "cudnnCreate");
  CudnnHandle handle(raw);
  check(cudnnSetStream(raw, stream), "cudnnSetStream");
  return handle;
}

}  // namespace sluice
