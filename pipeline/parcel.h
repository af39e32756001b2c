// What moves between stages, and what comes from the data feed.
#pragma once

#include <functional>
#include <vector>

#include "engine/stream.h"
#include "engine/tensor.h"
#include "layers/module.h"

namespace sluice {

/// A bundle of tensors, and the point in a stream from which on they may be read (an empty event: at once, on the
/// stream that they are used on). Undefined tensors stand for gradients that nothing reached.
struct Parcel {
  std::vector<Tensor> values;
  Event ready{};

  /// The values, for use on `s` from now on.
  std::vector<Tensor> claim(const Stream& s) && {
    s.wait(ready);
    for (const Tensor& t : values)
      if (t.defined()) t.storage()->record_use(s);
    return std::move(values);
  }
};

/// What a stage wants from the data.
struct FeedRequest {
  int stage = 0;
  int64_t mb = 0;                  // micro-batch, counted from the start of training
  const std::vector<Port>& ports;  // the values to give, in this order
  const Stream& stream;            // where they will be read; the values lie on its device
};

/// Gives a stage its share of a micro-batch. Called by all workers at once, each in ascending order of micro-batches.
using Feed = std::function<Parcel(const FeedRequest&)>;

}  // namespace sluice
