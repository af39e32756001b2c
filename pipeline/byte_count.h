// What the stages of a network keep and hand on for a micro-batch, counted without computing it.
#pragma once

#include <vector>

#include "pipeline/costs.h"
#include "pipeline/parcel.h"

namespace sluice {

struct ByteCount {
  std::vector<StageBytes> bytes;  // by stage
  std::vector<EdgeBytes> edges;   // as parcels of the transport hold them
};

/// Runs micro-batch 0 on a device that gives out memory and never works (CpuShare::dry): each stage's forward and the
/// input half of its backward, from gradients of its outputs where the error crosses stages. `moments`: of the
/// optimiser, by parameter. The feed is asked on behalf of every stage that reads it, for values in CPU memory. Throws
/// what the stages throw.
ByteCount count_bytes(const std::vector<StageNet>& nets, const Feed& feed, bool error_crosses, int moments);

}  // namespace sluice
