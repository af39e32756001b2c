// Which stage goes on which device, and by which schedule.
#pragma once

#include "apps/training.h"

namespace sluice {

/// The configured placement, checked against stages and devices; where it is auto, the best one for measured costs.
/// Throws ConfigError when the list does not match the stages or the devices.
Placement place(const RunConfig& config, const TrainingData& data, int stages, int devices, bool error_crosses);

/// Where the instances of all stages lie, and what each device does.
struct Arrangement {
  InstancePlacement all;
  Plan plan;
  std::string schedule;  // its name or file; empty of replicas
};
/// By the configured schedule or its file; where it is auto, by the one that keeps the devices busiest. `placement` is
/// that of place(). Throws ScheduleError where the schedule cannot serve it, and what compute_plan() throws.
Arrangement arrange(const RunConfig& config, const Placement& placement, bool error_crosses, int devices);

}  // namespace sluice
