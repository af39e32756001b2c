// The runtime's error codes: the last one of each host thread, names and texts as the real runtime gives them.
#include <array>

#include "emu/world.h"

namespace emu::rt {
namespace {

struct ErrorText {
  cudaError_t code;
  const char *name, *text;
};
#define SLUICE_EMU_ERROR(code, text) \
  ErrorText { code, #code, text }
constexpr std::array kErrors{
    SLUICE_EMU_ERROR(cudaSuccess, "no error"),
    SLUICE_EMU_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SLUICE_EMU_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SLUICE_EMU_ERROR(cudaErrorInitializationError, "initialization error"),
    SLUICE_EMU_ERROR(cudaErrorCudartUnloading, "driver shutting down"),
    SLUICE_EMU_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SLUICE_EMU_ERROR(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    SLUICE_EMU_ERROR(cudaErrorInvalidSymbol, "invalid device symbol"),
    SLUICE_EMU_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    SLUICE_EMU_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    SLUICE_EMU_ERROR(cudaErrorStubLibrary, "CUDA driver is a stub library"),
    SLUICE_EMU_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    SLUICE_EMU_ERROR(cudaErrorMissingConfiguration, "__global__ function call is not configured"),
    SLUICE_EMU_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SLUICE_EMU_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SLUICE_EMU_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SLUICE_EMU_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    SLUICE_EMU_ERROR(cudaErrorPeerAccessUnsupported, "peer access is not supported between these two devices"),
    SLUICE_EMU_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SLUICE_EMU_ERROR(cudaErrorNotReady, "device not ready"),
    SLUICE_EMU_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SLUICE_EMU_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    SLUICE_EMU_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    SLUICE_EMU_ERROR(cudaErrorPeerAccessAlreadyEnabled, "peer access is already enabled"),
    SLUICE_EMU_ERROR(cudaErrorPeerAccessNotEnabled, "peer access has not been enabled"),
    SLUICE_EMU_ERROR(cudaErrorContextIsDestroyed, "context is destroyed"),
    SLUICE_EMU_ERROR(cudaErrorAssert, "device-side assert triggered"),
    SLUICE_EMU_ERROR(cudaErrorHostMemoryAlreadyRegistered,
                     "part or all of the requested memory range is already mapped"),
    SLUICE_EMU_ERROR(cudaErrorHostMemoryNotRegistered, "pointer does not correspond to a registered memory region"),
    SLUICE_EMU_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    SLUICE_EMU_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    SLUICE_EMU_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    SLUICE_EMU_ERROR(cudaErrorNotSupported, "operation not supported"),
    SLUICE_EMU_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef SLUICE_EMU_ERROR

const ErrorText* find(cudaError_t code) {
  for (const ErrorText& e : kErrors)
    if (e.code == code) return &e;
  return nullptr;
}

}  // namespace
}  // namespace emu::rt

using namespace emu::rt;

extern "C" {

/// Forgets it, unless the device is lost: that comes back with every call.
cudaError_t cudaGetLastError() {
  const Lock lock;
  const cudaError_t code = host_thread().last;
  host_thread().last = sticky_error();
  return code;
}
cudaError_t cudaPeekAtLastError() {
  const Lock lock;
  return host_thread().last;
}
const char* cudaGetErrorName(cudaError_t code) {
  const ErrorText* e = find(code);
  return e == nullptr ? "unrecognized error code" : e->name;
}
const char* cudaGetErrorString(cudaError_t code) {
  const ErrorText* e = find(code);
  return e == nullptr ? "unrecognized error code" : e->text;
}
}
