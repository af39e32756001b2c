// CUDA half of ClassWeights: a warp per class goes through the labels, which are few.
#include "kernels/class_weights.h"
#include "kernels/common/reduce.cuh"

namespace sluice::kernels {

__global__ void __launch_bounds__(kThreads)
    class_weights_kernel(float* weights, const int32_t* labels, int64_t count, int64_t classes) {
  const int64_t k = global_thread() / 32;
  if (k >= classes) return;           // whole warps
  float mine = 0.0f, strange = 0.0f;  // counts are exact: below 2^24
  for (int64_t i = lane(); i < count; i += 32) {
    const int32_t label = labels[i];
    if (label == k) mine += 1.0f;
    if (label < 0 || label >= classes) strange += 1.0f;
  }
  mine = warp_reduce<Sum>(mine);
  strange = warp_reduce<Sum>(strange);
  if (lane() == 0) weights[k] = strange > 0.0f ? __builtin_nanf("") : mine / float(count < 1 ? 1 : count);
}

void ClassWeights::cuda(CudaContext& c) const {
  const int64_t classes = weights.dim(0);
  if (classes == 0) return;
  launch_kernel(c, kName, class_weights_kernel, ceil_div(classes * 32, kThreads), kThreads, 0, weights.as<float>(),
                labels.as<int32_t>(), labels.numel(), classes);
}

}  // namespace sluice::kernels
