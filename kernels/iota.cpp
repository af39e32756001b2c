// CPU half of Iota.
#include "kernels/iota.h"

#include <numeric>

namespace sluice::kernels {

template <>
void Iota::cpu<kIsa>(CpuContext&) const {
  std::iota(y.as<int32_t>(), y.as<int32_t>() + y.numel(), 0);
}

}  // namespace sluice::kernels
