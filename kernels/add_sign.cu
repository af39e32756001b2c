// CUDA half of x + epsilon sign(x): one pass, eight elements and their byte a thread.
#include "kernels/add_sign.h"
#include "kernels/common/bits.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

/// What is added to a positive number, and to 0.
struct Added {
  float epsilon, zero;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    add_sign_kernel(T* y, uint8_t* bits, const T* x, Added add, int64_t n, bool packed) {
  for_eights(n, [=](int64_t i) {
    Eight<T> e = load_eight(x, i, n, packed);
    unsigned byte = 0;
    for (int k = 0; k < 8; ++k) {
      const float v = float(e.v[k]);
      byte |= unsigned(v > 0.0f) << k;
      e.v[k] = T(v + (v > 0.0f ? add.epsilon : v < 0.0f ? -add.epsilon : add.zero));
    }
    store_eight(y, e, i, n, packed);
    if (bits != nullptr) bits[i / 8] = uint8_t(byte);
  });
}

void AddSign::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const Grid g = grid_for(c, packed_bytes(n));
    launch_kernel(c, kName, add_sign_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), bits.as<uint8_t>(), x.as<T>(),
                  Added{epsilon, epsilon * of_zero}, n, aligned_for(kPack<T>, x.as<T>(), y.as<T>()));
  });
}

}  // namespace sluice::kernels
