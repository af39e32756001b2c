// Which cut, schedule and number of micro-batches train fastest on so many devices, on paper.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "apps/unit_costs.h"
#include "pipeline/rule.h"

namespace sluice {

struct PlanRequest {
  const LearningRule* rule = nullptr;
  std::string schedule = "auto";                         // or the only one to try
  int devices = 1;                                       // at most
  int64_t samples = 1;                                   // of a step
  int64_t memory = std::numeric_limits<int64_t>::max();  // bytes of a device
  Link link{};
};

/// A plan for a part of the devices.
struct FoundPlan {
  std::string schedule;
  int64_t mbs = 1;
  std::vector<int> begins;      // units at which stages begin
  Placement placement;          // of the stages' first instances
  std::vector<int> workers_of;  // by stage: devices that take its micro-batches in turn; empty: one each
  InstancePlan plan;            // computing actions
  double step_seconds = 0;
  double samples_per_s = 0;
  double bubble = 0;               // share of the time of the devices that it uses
  std::vector<WorkerBytes> bytes;  // of each of them
  int64_t peak() const;            // the largest
};

/// Every schedule of the rule's kind, on 1 to all devices, for each number of micro-batches that there are costs of, in
/// every shape that the schedule takes (shapes(), chunk_begins()), bidirectional ones among them, and 1F1B with
/// replicas (replicated_stages()). Plans that fit come first, the fastest first; of equals, the one with fewer devices,
/// then with less memory.
std::vector<FoundPlan> search_plans(const PlanRequest& request, const std::vector<UnitCosts>& units);

/// The costs and the wiring of stages that begin at these units. Edges become one from each stage to the next.
struct StageModel {
  CostModel costs;
  Wiring wiring;
};
StageModel merged(const UnitCosts& units, const std::vector<int>& begins);
/// That of the stages of a found plan, under the request's rule and link; where stages have several instances, of
/// these.
StageModel model_of(const FoundPlan& found, const UnitCosts& units, const PlanRequest& request);

}  // namespace sluice
