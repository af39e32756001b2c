// Reads trace.json back.
#pragma once

#include <string>

#include "apps/timeline_svg.h"

namespace sluice {

/// The computing actions and transfers of the steps [first, first + steps) in a run's trace.json, of `mbs`
/// micro-batches each, with a lane for each device. Throws DataError with `where` for text that is no trace of a run,
/// or has nothing of those steps.
TimelinePicture read_trace(const std::string& text, const std::string& where, int64_t mbs, int64_t first,
                           int64_t steps);

}  // namespace sluice
