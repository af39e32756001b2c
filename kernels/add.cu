// CUDA half of Add: one pass, 16 bytes a thread. y may be a or b.
#include "kernels/add.h"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads) add_kernel(T* y, const T* a, const T* b, int64_t n, bool packed) {
  for_packs<kPack<T>>(n, packed, [=]<int N>(int64_t i) {
    Pack<T, N> v = load<N>(a + i);
    const Pack<T, N> w = load<N>(b + i);
    for (int k = 0; k < N; ++k) v.v[k] = T(float(v.v[k]) + float(w.v[k]));
    store(y + i, v);
  });
}

void Add::cuda(CudaContext& c) const {
  const int64_t n = a.numel();
  if (n == 0) return;
  visit_float(a.dtype, [&]<class T>() {
    const Grid g = grid_for(c, ceil_div(n, kPack<T>));
    const bool packed = aligned_for(kPack<T>, a.as<T>(), b.as<T>(), y.as<T>());
    launch_kernel(c, kName, add_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), a.as<T>(), b.as<T>(), n, packed);
  });
}

}  // namespace sluice::kernels
