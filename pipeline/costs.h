// What a plan's actions take and what its stages keep: the numbers behind simulate() and the planner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace sluice {

/// A way between two workers. Parcels of one way go one after another; their latencies overlap.
struct Link {
  double latency = 0;                                          // from the end of a send until its parcel can arrive
  double bandwidth = std::numeric_limits<double>::infinity();  // bytes per unit of time
  bool holds_sender = false;  // the sender's own stream copies (LocalTransport); otherwise the sender goes on at once
  double seconds(int64_t bytes) const { return double(bytes) / bandwidth; }
};

/// The bytes of one micro-batch's parcels between two stages: `activations` there, `gradients` back.
struct EdgeBytes {
  int from = 0, to = 0;
  int64_t activations = 0, gradients = 0;
};

/// What a stage keeps in memory.
struct StageBytes {
  int64_t weights = 0, gradients = 0, optimizer = 0;
  int64_t tables = 0;       // of the weights, those that are foretold by the row
  int64_t buffers = 0;      // running statistics
  int64_t activations = 0;  // of one micro-batch, from its forward to the end of its backward
  int64_t inputs = 0;       // of one that is recomputed, until that: its inputs and the statistics of its norms
  int64_t deferred = 0;     // what of those is left after the input half, for the weight half
  int64_t shared = 0;       // of the activations: what the stage before keeps, too; once where they are one stage
  int64_t working = 0;      // beside all these while one of its actions runs
};

/// Seconds (or any unit) of each stage's actions, by stage; a missing entry counts as the last one given, none as 0.
/// Edges that are not named carry no bytes.
struct CostModel {
  std::vector<double> forward, backward_input, backward_weight, update;  // a whole backward takes both halves
  Link link{};
  std::vector<EdgeBytes> edges{};
  std::vector<StageBytes> bytes{};

  /// The entry of a stage in one of the lists.
  template <class T>
  static T of(const std::vector<T>& entries, int stage) {
    return entries.empty() ? T{} : entries[std::min(size_t(stage), entries.size() - 1)];
  }
  /// Bytes of a parcel between two stages: activations to a later stage, gradients to an earlier one.
  int64_t parcel(int from, int to) const {
    for (const EdgeBytes& e : edges) {
      if (e.from == from && e.to == to) return e.activations;
      if (e.from == to && e.to == from) return e.gradients;
    }
    return 0;
  }
};

}  // namespace sluice
