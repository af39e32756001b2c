// CUDA half of the expansion: one pass, eight elements and their byte a thread.
#include "kernels/common/bits.cuh"
#include "kernels/common/visit.h"
#include "kernels/expand_signs.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads)
    expand_signs_kernel(T* y, const uint8_t* bits, float one, float zero, int64_t n, bool packed) {
  for_eights(n, [=](int64_t i) {
    Eight<T> e;
    const unsigned byte = bits[i / 8];
    for (int k = 0; k < 8; ++k) e.v[k] = T((byte >> k & 1u) != 0 ? one : zero);
    store_eight(y, e, i, n, packed);
  });
}

void ExpandSigns::cuda(CudaContext& c) const {
  const int64_t n = y.numel();
  if (n == 0) return;
  visit_float(y.dtype, [&]<class T>() {
    const Grid g = grid_for(c, packed_bytes(n));
    launch_kernel(c, kName, expand_signs_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), bits.as<uint8_t>(), one, zero, n,
                  aligned_for(kPack<T>, y.as<T>()));
  });
}

}  // namespace sluice::kernels
