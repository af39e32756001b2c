// CUDA half of OneHot: one pass over y.
#include "kernels/common/device.cuh"
#include "kernels/common/visit.h"
#include "kernels/one_hot.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads) one_hot_kernel(T* y, const int32_t* labels, int64_t n, int64_t classes) {
  const float nan = __builtin_nanf("");
  for (int64_t i = global_thread(); i < n; i += grid_threads()) {
    const int64_t row = i / classes, k = i - row * classes;
    const int64_t label = labels == nullptr ? row : labels[row];
    y[i] = T(label < 0 || label >= classes ? nan : (k == label ? 1.0f : 0.0f));
  }
}

void OneHot::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    const Grid g = grid_for(c, n);
    launch_kernel(c, kName, one_hot_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), labels.as<int32_t>(), n, y.dim(1));
  });
}

}  // namespace sluice::kernels
