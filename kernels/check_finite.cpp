// CPU half of FlagNonFinite: one thread, since there are as many losses as a step has micro-batches.
#include "kernels/check_finite.h"

namespace sluice::kernels {

template <>
void FlagNonFinite::cpu<kIsa>(CpuContext&) const {
  const uint32_t* bits = losses.as<uint32_t>();
  uint32_t bad = 0;
  for (int64_t i = 0; i < losses.numel(); ++i) bad |= uint32_t(tells_non_finite(bits[i], are_flags()));
  *finite.as<int32_t>() &= int32_t(bad == 0);
}

}  // namespace sluice::kernels
