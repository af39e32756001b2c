// CUDA halves of the packed ReLU: one pass, eight elements and their byte a thread.
#include "kernels/common/bits.cuh"
#include "kernels/common/visit.h"
#include "kernels/packed_relu.h"

namespace sluice::kernels {

template <class T>
__global__ void __launch_bounds__(kThreads)
    packed_relu_kernel(T* y, uint8_t* bits, const T* x, const T* residual, int64_t n, bool packed) {
  for_eights(n, [=](int64_t i) {
    const Eight<T> in = load_eight(x, i, n, packed);
    Eight<float> e;
    for (int k = 0; k < 8; ++k) e.v[k] = float(in.v[k]);
    if (residual != nullptr) {
      const Eight<T> add = load_eight(residual, i, n, packed);
      for (int k = 0; k < 8; ++k) e.v[k] += float(add.v[k]);
    }
    if (bits != nullptr) bits[i / 8] = positive_bits(e);
    if (y != nullptr) store_eight(y, relu<T>(e), i, n, packed);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    packed_relu_grad_kernel(T* dx, const uint8_t* bits, const T* dy, int64_t n, bool packed) {
  for_eights(n, [=](int64_t i) {
    Eight<T> e = load_eight(dy, i, n, packed);
    const unsigned byte = bits[i / 8];
    for (int k = 0; k < 8; ++k)
      if ((byte >> k & 1u) == 0) e.v[k] = T(0.0f);
    store_eight(dx, e, i, n, packed);
  });
}

void PackedRelu::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const Grid g = grid_for(c, packed_bytes(n));
    launch_kernel(c, kName, packed_relu_kernel<T>, g.blocks, g.threads, 0, y.as<T>(), bits.as<uint8_t>(), x.as<T>(),
                  residual.as<T>(), n, aligned_for(kPack<T>, x.as<T>(), y.as<T>(), residual.as<T>()));
  });
}

void PackedReluGrad::cuda(CudaContext& c) const {
  const int64_t n = dy.numel();
  if (n == 0) return;
  visit_float(dy.dtype, [&]<class T>() {
    const Grid g = grid_for(c, packed_bytes(n));
    launch_kernel(c, kName, packed_relu_grad_kernel<T>, g.blocks, g.threads, 0, dx.as<T>(), bits.as<uint8_t>(),
                  dy.as<T>(), n, aligned_for(kPack<T>, dy.as<T>(), dx.as<T>()));
  });
}

}  // namespace sluice::kernels
