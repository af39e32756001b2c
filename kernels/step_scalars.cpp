// CPU half of SetStepScalars.
#include "kernels/step_scalars.h"

namespace sluice::kernels {

template <>
void SetStepScalars::cpu<kIsa>(CpuContext&) const {
  *slot.as<StepScalars>() = held(values, finite.as<int32_t>());
}

}  // namespace sluice::kernels
