// What `sluice plan` writes and `sluice train --plan` runs: a configuration, and the plan of its schedule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/config.h"
#include "pipeline/instances.h"

namespace sluice {

/// What a plan promised.
struct Prediction {
  double samples_per_s = 0, bubble = 0;  // the latter a share of all devices' time
  std::vector<int64_t> bytes;            // of each device, at the most
};

struct PlanFile {
  RunConfig config;      // cuts, placement, devices and micro-batches among it
  std::string schedule;  // the generator's name
  InstancePlan plan;
  Prediction prediction;
};

std::string to_json(const PlanFile& file);
/// The inverse; a file without "stage_of" has one instance of every stage. Throws ConfigError or DataError with
/// `where`, the key and what was expected; of an action that is none, with its line in the plan.
PlanFile read_plan_text(const std::string& text, const std::string& where);

}  // namespace sluice
