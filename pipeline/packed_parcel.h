// Parcels as messages: a head, which says what the values are, and the values behind it, or elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pipeline/action.h"
#include "pipeline/courier.h"
#include "pipeline/parcel.h"

namespace sluice {

/// One value as it stands in a message.
struct PackedValue {
  int64_t offset = -1;  // bytes from the message's begin; -1: undefined
  int64_t dims[Shape::kMaxRank] = {};
  int32_t rank = 0;
  DType dtype = DType::kF32;
  Shape shape() const;
};
struct PackedHead {
  int32_t mb = 0;
  int8_t view = 0;
  uint32_t values = 0;  // that many PackedValue follow
};

/// Bytes of a head for so many values, and of a whole message; values begin at multiples of 256.
size_t head_bytes(size_t values);
size_t packed_bytes(const Parcel& parcel);
size_t packed_bytes(const std::vector<PackedValue>& values);

std::vector<PackedValue> write_head(const Action& a, const Parcel& parcel, std::byte* to);
/// Throws TransportError for a message that is shorter than its head.
PackedHead read_head(const Mail& mail, std::vector<PackedValue>& values);

}  // namespace sluice
