// CUDA half of Iota: one pass over y.
#include "kernels/common/device.cuh"
#include "kernels/iota.h"

namespace sluice::kernels {

__global__ void __launch_bounds__(kThreads) iota_kernel(int32_t* y, int64_t n) {
  for (int64_t i = global_thread(); i < n; i += grid_threads()) y[i] = int32_t(i);
}

void Iota::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const Grid g = grid_for(c, y.numel());
  launch_kernel(c, kName, iota_kernel, g.blocks, g.threads, 0, y.as<int32_t>(), y.numel());
}

}  // namespace sluice::kernels
