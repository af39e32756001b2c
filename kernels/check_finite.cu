// CUDA half of FlagNonFinite: one block, since there are as many losses as a step has micro-batches.
#include "kernels/check_finite.h"
#include "kernels/common/reduce.cuh"

namespace sluice::kernels {

__global__ void __launch_bounds__(kThreads)
    flag_non_finite_kernel(int32_t* finite, const uint32_t* losses, int64_t n, bool are_flags) {
  float bad = 0.0f;
  for (int64_t i = threadIdx.x; i < n; i += kThreads)
    if (tells_non_finite(losses[i], are_flags)) bad = 1.0f;
  bad = block_reduce<Max>(bad);
  if (threadIdx.x == 0 && bad != 0.0f) *finite = 0;
}

void FlagNonFinite::cuda(CudaContext& c) const {
  launch_kernel(c, kName, flag_non_finite_kernel, 1, kThreads, 0, finite.as<int32_t>(), losses.as<uint32_t>(),
                losses.numel(), are_flags());
}

}  // namespace sluice::kernels
