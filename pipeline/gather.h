// Much from all processes to one.
#pragma once

#include <vector>

#include "pipeline/peers.h"

namespace sluice {

/// What each process gives, by rank, at process 0; nothing at the others, which go on at once. All processes call it,
/// at the same point among the topics that they open. Throws TransportError with the cause when the processes fail.
std::vector<std::vector<Mail>> gather(Peers& peers, std::vector<Mail> own);

}  // namespace sluice
