// Where a network is cut into stages.
#pragma once

#include "apps/config.h"
#include "models/units.h"

namespace sluice {

/// The units at which stages begin behind the first, as the configuration's `cuts` say: listed; all; balanced:N, which
/// gives N stages whose largest count of operations is as small as can be; empty, the network's own. Throws ConfigError
/// where they are none of this, or not in the network.
std::vector<int> cuts_of(const RunConfig& config, const UnitNet& net);

}  // namespace sluice
