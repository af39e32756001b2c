// Cuts a profiled network into stages and replicates them so that the slowest is as fast as can be: the partitioner of
// PipeDream (Harlap et al. 2018; Narayanan et al., SOSP 2019).
#pragma once

#include <limits>
#include <optional>
#include <vector>

#include "pipeline/graph_states.h"

namespace sluice {

/// Machines that are alike, and the way between any two of them.
struct MachineLevel {
  int machines = 1;
  double bandwidth = 1e9;  // bytes per second
};

struct PartitionOptions {
  std::vector<MachineLevel> levels;  // innermost first: a machine of a level is all of the level before it
  /// What crosses a cut takes 2 bytes / (bandwidth x compression), there and back; nothing: as if it took no time.
  std::optional<double> compression = 1.0;
  double memory = std::numeric_limits<double>::infinity();  // bytes of an innermost machine
  bool straight = false;                                    // no replicas
  bool fewer_machines = false;                              // may leave some without work
};

struct GraphStage {
  size_t last = 0;            // its last cut; the first one is behind that of the stage before
  std::vector<int> replicas;  // by level, innermost first
  int machines() const;       // all replicas
};

struct GraphPartition {
  std::vector<GraphStage> stages;
  double seconds = 0;                // of the slowest stage per micro-batch
  double one_machine_seconds = 0;    // of the whole network on one
  double data_parallel_seconds = 0;  // of the whole network on each, gradients summed over all of them
};

/// The best partition by dynamic programming over cuts and machines, level by level. A stage of C seconds and P bytes
/// of weights on m replicas takes (C + 4 (m - 1) P / (bandwidth m)) / m; the slowest of stages and cuts decides. A
/// stage before others that have r machines keeps ceil(r / m) + 1 micro-batches' activations and as many versions of
/// its weights, which have to fit into `memory` (each level counts its own machines only). Of equals, the one with
/// fewer stages. Throws ConfigError for a bandwidth or machines that are not positive; ScheduleError where nothing
/// fits.
GraphPartition partition_graph(const std::vector<CutState>& states, const PartitionOptions& options);

}  // namespace sluice
