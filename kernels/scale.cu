// CUDA half of Scale: one pass, 16 bytes a thread. y may be x.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/scale.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_kernel(T* y, const T* x, const float* factor, int64_t n, bool packed) {
  const float f = *factor;
  for_packs<kPack<T>>(n, packed, [=]<int N>(int64_t i) {
    Pack<T, N> v = load<N>(x + i);
    for (int k = 0; k < N; ++k) v.v[k] = T(f * float(v.v[k]));
    store(y + i, v);
  });
}

void Scale::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const Grid g = grid_for(c, ceil_div(n, kPack<T>));
    launch_kernel(c, kName, scale_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), x.as<T>(), factor.as<float>(), n,
                  aligned_for(kPack<T>, x.as<T>(), y.as<T>()));
  });
}

}  // namespace sluice::kernels
