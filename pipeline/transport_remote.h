// The transport between processes: parcels go through host memory as messages; between GPUs only their heads do, and
// the values go by NCCL.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "pipeline/peers.h"
#include "pipeline/transport.h"
#include "pipeline/validate.h"

namespace sluice {

class RemoteTransport final : public Transport {
 public:
  /// `ranks[s]` is the process of stage s, `streams[s]` its stream where that is this one. All processes make the same
  /// transports in the same order, and ends them in the same order, if they do not fail. No channel lies within one
  /// process. The peers outlive the transport.
  RemoteTransport(Peers& peers, const std::vector<ChannelUse>& channels, const std::vector<int>& ranks,
                  const std::vector<Stream>& streams);
  ~RemoteTransport() override;

  /// Both throw TransportError with the cause when the processes fail.
  /// Returns when the copies to host memory are queued; the host waits while the receiver holds all slots. An error on
  /// the sender's device fails all processes.
  void send(const Action& a, const Parcel& parcel, const Stream& from) override;
  /// The host waits until the values are here.
  Parcel recv(const Action& a, const Stream& to) override;
  void abort() override;

 private:
  void join_gpus(Peers& peers, const std::vector<ChannelUse>& channels, const std::vector<Stream>& streams);
  class LineOf;
  class HostMemory;
  class Waiting;
  class Sender;
  class Receiver;  // outlives the transport where its parcels do
  std::map<std::pair<int, int>, std::unique_ptr<Sender>> senders_;
  std::map<std::pair<int, int>, std::shared_ptr<Receiver>> receivers_;
};

}  // namespace sluice
