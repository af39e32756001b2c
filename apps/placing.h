// Which stage goes on which device, and by which schedule.
#pragma once

#include "apps/training.h"

namespace sluice {

/// The configured placement, checked against stages and devices; where it is auto, the best one for measured costs.
/// Throws ConfigError when the list does not match the stages or the devices.
Placement place(const RunConfig& config, const TrainingData& data, int stages, int devices, bool error_crosses);

/// The configured schedule; where it is auto, the one that keeps the devices busiest.
std::string schedule_name(const RunConfig& config, bool error_crosses, int devices);

}  // namespace sluice
