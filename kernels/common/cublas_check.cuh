// check(cublasStatus_t): turns a failed call of cuBLASLt into a DeviceError that names call, code and place.
#pragma once

#include <cublasLt.h>

#include "kernels/common/error.h"

namespace sluice {

inline void check(cublasStatus_t code, const char* call, Where at = Where::here()) {
  if (code == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(str(call, ": ", cublasLtGetStatusName(code), " (", int(code), "), at ", at.file, ":", at.line));
}

}  // namespace sluice
