// Random numbers without state: Philox keyed by what they are for, so that they do not depend on the schedule.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/common/philox.h"

namespace sluice {

/// Why a number is drawn; part of the key, so that purposes never share numbers.
enum class RngPurpose : uint32_t { kInit = 1, kDropout = 2, kAugment = 3, kShuffle = 4 };

/// FNV-1a of a path such as "stage1.conv2.weight".
uint64_t path_hash(std::string_view path);

/// What all draws of one micro-batch share.
struct Rng {
  uint64_t seed = 0;
  int64_t sample_base = 0;  // global index of the micro-batch's first sample
  uint32_t view = 0;

  /// The key for an op at `path`; sample and element indices are the counter.
  PhiloxKey key(RngPurpose purpose, uint64_t path) const;
};

}  // namespace sluice
