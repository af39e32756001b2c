// Runs a plan on paper: no device needed, and a bad plan never starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/action.h"
#include "pipeline/wiring.h"

namespace sluice {

/// An action of a run in an order that one host thread could run it in.
struct Placed {
  int worker = 0;
  int64_t position = 0;  // in the worker's unrolled program
  Action action;
  WeightRead read{};           // forward, recomputation, backward: the weights that it reads
  std::vector<int64_t> after;  // places in the order of what it waits for, besides its worker's previous action
};

/// A channel that carries parcels from one stage to another.
struct ChannelUse {
  int from = 0, to = 0;
  int slots = 0;
  bool operator==(const ChannelUse&) const = default;
};

/// Foretold weights that a stage keeps, of the size of its weights each.
struct Foretold {
  int forward = 0, backward = 0;  // by the pass that they are foretold for
  int count() const { return forward + backward; }
  bool operator==(const Foretold&) const = default;
};

/// What a sound plan does.
struct Report {
  int64_t mbs = 0;
  int mbs_per_step = 0;
  Placement placement;
  std::vector<Placed> order;             // topological; the order of execute_serial()
  std::vector<int> live_peak;            // per stage: the most micro-batches between forward and the end of backward
  std::vector<int> versions_held;        // per stage: the weight versions to keep so that none is read that is gone
  std::vector<Foretold> forecasts_held;  // per stage: foretold weights to keep beside them
  std::vector<bool> recomputed;          // per stage: it keeps its inputs, and runs again before backward
  std::vector<bool> forecasts_late;      // per stage: those are read when updates have followed them
  int64_t staleness = 0;                 // the most updates between forward and backward of a micro-batch
  std::vector<ChannelUse> channels;      // slots that each needs for all to run, or wiring.depth
};

/// Checks a run over `mbs` micro-batches (0: prologue, three periods and epilogue; with recomputations
/// more, until those of the prologue are gone). Throws ScheduleError with worker,
/// position and action for: a stage or action that is missing, doubled or on the wrong worker; a send without its
/// receive or in another order; a stage's forwards, or its gradients, in another order than that of micro-batches; a
/// sum of gradients before all are there; weights that are read before they are made, or change between forward and
/// backward where the rule is synchronous; and any action that can never run, with what it waits for.
Report validate(const Plan& plan, const Wiring& wiring, int64_t mbs = 0);

}  // namespace sluice
