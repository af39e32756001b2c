// Which cuts of a network, and which ways to lay its stages on devices, a search of plans tries.
#pragma once

#include <limits>
#include <set>
#include <vector>

#include "apps/unit_costs.h"
#include "pipeline/graph_partition.h"

namespace sluice {

/// The devices of a plan's chunks of units, in order.
using ChunkDevices = std::vector<int>;

/// A run of chunks a device, chunks in turns, and both arms of a V, over all of so many devices.
std::vector<ChunkDevices> shapes(int devices, int units);

/// Cuts behind each unit, as the partitioner takes them.
std::vector<CutState> cuts_behind(const UnitCosts& units);

/// What a cut goes by beside the units' costs.
struct CutLimits {
  double bandwidth = std::numeric_limits<double>::infinity();  // bytes per second between devices
  double memory = std::numeric_limits<double>::infinity();     // bytes of a device
};

/// The units at which so many chunks begin: in all ways, where these are few. Otherwise by dynamic programming for the
/// slowest chunk or a cut's parcels, the same within the memory, and blocks of equal memory.
std::set<std::vector<int>> chunk_begins(const UnitCosts& units, int chunks, const CutLimits& limits);

/// Stages of which some have several devices, which take micro-batches in turn.
struct ReplicatedStages {
  std::vector<int> begins, workers_of;  // by stage: its first unit, and how many devices it has
  auto operator<=>(const ReplicatedStages&) const = default;
};
/// Over all of so many devices: up to 6, every way to share them out, each with every cut where these are few, or else
/// with the one whose slowest stage is fastest, where a stage of C seconds and G bytes of gradients takes
/// C / m + 2 (m - 1) / m G / (bandwidth mbs) on m devices. Of more devices what partition_graph() finds, and all of
/// them with the whole network each.
std::set<ReplicatedStages> replicated_stages(const UnitCosts& units, int devices, double bandwidth);

}  // namespace sluice
