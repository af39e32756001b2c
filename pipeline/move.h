// Brings a tensor to where another stream can read it, outside the executor.
#pragma once

#include "engine/stream.h"
#include "engine/tensor.h"

namespace sluice {

/// t, made on `from`, for use on `to` from now on: itself on one stream, else a copy on the other stream's device.
Tensor moved(const Tensor& t, const Stream& from, const Stream& to);

}  // namespace sluice
