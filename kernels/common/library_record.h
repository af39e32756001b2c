// Which library primitives a CPU stream has made: for tests, benchmarks and reports. No vendor header.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/common/context.h"

namespace sluice {

struct LibraryRecord {
  std::vector<std::string> implementations;  // "conv2d: jit:avx512_core", one per primitive made, reorders included
  int64_t packs = 0;                         // times a weight was brought into a primitive's layout
};

/// The record of this context. Call on the stream's worker.
const LibraryRecord& library_record(CpuContext& c);

}  // namespace sluice
