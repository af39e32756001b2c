// CUDA half of TransposeIds: written in order; a batch of ids is small enough that its reads in steps hit the L2 cache.
#include "kernels/common/device.cuh"
#include "kernels/transpose_ids.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads) transpose_ids_kernel(T* y, const T* x, int64_t rows, int64_t cols) {
  for (int64_t i = global_thread(); i < rows * cols; i += grid_threads()) {
    const int64_t col = i / rows, r = i - col * rows;
    y[i] = x[r * cols + col];
  }
}

void TransposeIds::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  const auto run = [&]<class T>(const T* in, T* out) {
    const Grid g = grid_for(c, x.numel());
    launch_kernel(c, kName, transpose_ids_kernel<T>, g.blocks, g.threads, 0, out, in, x.dim(0), x.dim(1));
  };
  if (x.dtype == DType::kU8) return run(x.as<uint8_t>(), y.as<uint8_t>());
  run(x.as<int32_t>(), y.as<int32_t>());
}

}  // namespace sluice::kernels
