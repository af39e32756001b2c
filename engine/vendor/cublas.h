// A cuBLASLt handle with an owner.
#pragma once

#include <memory>

struct cublasLtContext;

namespace sluice {

struct CublasLtDeleter {
  void operator()(cublasLtContext* handle) const noexcept;
};
using CublasLtHandle = std::unique_ptr<cublasLtContext, CublasLtDeleter>;

/// On the current device. Calls name their stream and bring their workspace. Throws DeviceError.
CublasLtHandle make_cublaslt();

}  // namespace sluice
