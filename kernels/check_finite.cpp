// CPU half of FlagNonFinite: one thread, since there are as many losses as a step has micro-batches.
#include "kernels/check_finite.h"

namespace sluice::kernels {

template <>
void FlagNonFinite::cpu<kIsa>(CpuContext&) const {
  const uint32_t* bits = losses.as<uint32_t>();
  constexpr uint32_t kExponent = 0x7f800000u;  // all ones: infinity or NaN, whatever the compiler assumes of floats
  uint32_t bad = 0;
  for (int64_t i = 0; i < losses.numel(); ++i) bad |= uint32_t((bits[i] & kExponent) == kExponent);
  *finite.as<int32_t>() &= int32_t(bad == 0);
}

}  // namespace sluice::kernels
