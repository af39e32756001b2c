// check(cudnnStatus_t): turns a failed call of cuDNN into a DeviceError that names the call, code, reason and place.
#pragma once

#include <cudnn.h>

#include "kernels/common/error.h"

namespace sluice {

inline void check(cudnnStatus_t code, const char* call, Where at = Where::here()) {
  if (code == CUDNN_STATUS_SUCCESS) return;
  char reason[512] = "";
  cudnnGetLastErrorString(reason, sizeof reason);
  throw DeviceError(
      str(call, ": ", cudnnGetErrorString(code), " (", int(code), "): ", reason, ", at ", at.file, ":", at.line));
}

}  // namespace sluice
