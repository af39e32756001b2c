// The transport between devices of one process.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "pipeline/transport.h"
#include "pipeline/validate.h"

namespace sluice {

class LocalTransport final : public Transport {
 public:
  /// `streams[s]` is the stream of stage s: a channel's slots lie in the pool of its receiver's stream.
  LocalTransport(const std::vector<ChannelUse>& channels, const std::vector<Stream>& streams);
  ~LocalTransport() override;

  void send(const Action& a, const Parcel& parcel, const Stream& from) override;
  Parcel recv(const Action& a, const Stream& to) override;
  void abort() override;

 private:
  class Channel;
  Channel& channel(const Action& a, int from, int to);
  std::map<std::pair<int, int>, std::shared_ptr<Channel>> channels_;
};

}  // namespace sluice
