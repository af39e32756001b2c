// Moves parcels between stages on different workers. Made for one run: after abort() it stays ended.
#pragma once

#include "pipeline/action.h"
#include "pipeline/parcel.h"

namespace sluice {

/// One channel for each pair (from stage, to stage) that the plan sends between, in order, with a fixed number of
/// slots. One worker sends on a channel and one receives.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Queues the transfer of a's parcel behind what `from` has queued; the values may be dropped then. Blocks the host
  /// while the receiver has not let go of the slot; the stream waits until it is free on the device. Throws Aborted.
  virtual void send(const Action& a, const Parcel& parcel, const Stream& from) = 0;
  /// The parcel that a receives, ready on `to`. Blocks the host until the peer has queued its send. The slot is free
  /// again when the last tensor that views it is gone. Throws TransportError when another parcel is next, Aborted.
  virtual Parcel recv(const Action& a, const Stream& to) = 0;
  /// Ends the run: whoever waits, and whoever comes later, gets Aborted.
  virtual void abort() = 0;
};

}  // namespace sluice
