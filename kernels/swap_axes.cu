// CUDA half of SwapAxes: element by element over y, in packs where a row is whole packs.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/swap_axes.h"

namespace sluice::kernels {

struct SwapShape {
  int64_t n, outer, inner, cols;  // of x
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) swap_axes_kernel(T* y, const T* x, SwapShape z) {
  for (int64_t at = global_thread() * N; at < z.n; at += grid_threads() * N) {
    const int64_t row = at / z.cols, j = row / z.outer, i = row - j * z.outer;
    store(y + at, load<N>(x + (i * z.inner + j) * z.cols + (at - row * z.cols)));
  }
}

void SwapAxes::cuda(CudaContext& c) const {
  const SwapShape z{x.numel(), x.dim(0), x.dim(1), x.dim(2)};
  if (z.n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    constexpr int kN = kPack<T>;
    const bool packed = z.cols % kN == 0 && aligned_for(kN, x.as<T>(), y.as<T>());
    const Grid g = grid_for(c, packed ? z.n / kN : z.n);
    launch_kernel(c, kName, packed ? swap_axes_kernel<T, kN> : swap_axes_kernel<T, 1>, g.blocks, g.threads, 0,
                  y.as<T>(), x.as<T>(), z);
  });
}

}  // namespace sluice::kernels
