// What the units of a network take, measured: what `sluice plan` plans with, and profiles as text.
#pragma once

#include <string>
#include <vector>

#include "apps/training.h"
#include "pipeline/profile.h"

namespace sluice {

/// The finest stages that a network can be cut into, for a step of so many micro-batches.
struct UnitCosts {
  int64_t mbs = 1;
  std::vector<std::string> names;
  Wiring wiring;           // between units
  CostModel costs;         // by unit; seconds and bytes
  bool mergeable = false;  // stages may be any neighbouring units; otherwise every unit stays a stage
};

/// Trains a few steps of one micro-batch of batch / mbs on the first device of the configuration with every unit a
/// stage and takes the medians of each half; where there are more CPU devices, the others train beside it, since they
/// share the machine's memory. Throws what Training does.
UnitCosts measure_units(const RunConfig& config, const TrainingData& data, int64_t mbs);

/// Seconds of every stage's actions, medians over a trace; of backwards in one piece, half for each of the two.
CostModel median_costs(const Trace& trace, int stages);

/// The way between the first device and the last, by copies between them. They hold the sender, as LocalTransport's do.
Link measure_link(const std::vector<Device>& devices);

/// The units as a profile: a node each, after an input.
Profile profile_of(const UnitCosts& units);

}  // namespace sluice
