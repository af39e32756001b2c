// Making and ending cuBLASLt handles.
#include "engine/vendor/cublas.h"

#include <cublasLt.h>

#include "kernels/common/cublas_check.cuh"

namespace sluice {

void CublasLtDeleter::operator()(cublasLtContext* handle) const noexcept { cublasLtDestroy(handle); }

CublasLtHandle make_cublaslt() {
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "cublasLtCreate");
  return CublasLtHandle(handle);
}

}  // namespace sluice
