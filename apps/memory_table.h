// What devices are expected to hold, as text.
#pragma once

#include <string>
#include <vector>

#include "engine/device.h"
#include "pipeline/simulate.h"

namespace sluice {

/// A row for each device.
std::string memory_table(const std::vector<Device>& devices, const std::vector<WorkerBytes>& expected);

}  // namespace sluice
