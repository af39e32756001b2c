// A cuDNN handle with an owner, bound to a stream.
#pragma once

#include <memory>

struct CUstream_st;
struct cudnnContext;

namespace sluice {

struct CudnnDeleter {
  void operator()(cudnnContext* handle) const noexcept;
};
using CudnnHandle = std::unique_ptr<cudnnContext, CudnnDeleter>;

/// On the current device; what it runs is queued on `stream`. Throws DeviceError.
CudnnHandle make_cudnn(CUstream_st* stream);

}  // namespace sluice
