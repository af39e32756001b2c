// Which channels between processes get a line from GPU to GPU.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/peers.h"
#include "pipeline/transport_nccl.h"

namespace sluice {

/// An end of a channel in this process.
struct LineEnd {
  int channel = 0;  // the same number at both ends
  bool sends = false;
  Device device{};
};

/// By channel: what the line of those whose ends are two GPUs is made with. All processes call it, each with its own
/// ends, in the same order among such calls. Throws TransportError with the cause when the processes fail.
std::map<int, std::string> agree_on_lines(Peers& peers, const std::vector<LineEnd>& own);

}  // namespace sluice
