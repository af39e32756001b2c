// CUDA half of SetStepScalars: the values travel as the kernel's argument.
#include "kernels/common/device.cuh"
#include "kernels/step_scalars.h"

namespace sluice::kernels {

__global__ void __launch_bounds__(kThreads)
    set_step_scalars_kernel(StepScalars* slot, StepScalars values, const int32_t* finite) {
  if (threadIdx.x == 0) *slot = SetStepScalars::held(values, finite);
}

void SetStepScalars::cuda(CudaContext& c) const {
  launch_kernel(c, kName, set_step_scalars_kernel, 1, 32, 0, slot.as<StepScalars>(), values, finite.as<int32_t>());
}

}  // namespace sluice::kernels
