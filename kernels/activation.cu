// CUDA halves of the activations: one pass, 16 bytes a thread. x and y (kept, dy and dx) may be the same buffer.
#include "kernels/activation.h"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"

namespace sluice::kernels {

template <class T, Act A>
__global__ void __launch_bounds__(kThreads) activation_kernel(T* y, const T* x, int64_t n, bool packed) {
  for_packs<kPack<T>>(n, packed, [=]<int N>(int64_t i) {
    Pack<T, N> v = load<N>(x + i);
    for (int k = 0; k < N; ++k) v.v[k] = T(math::act<A>(float(v.v[k])));
    store(y + i, v);
  });
}

template <class T, Act A>
__global__ void __launch_bounds__(kThreads)
    activation_grad_kernel(T* dx, const T* kept, const T* dy, int64_t n, bool packed) {
  for_packs<kPack<T>>(n, packed, [=]<int N>(int64_t i) {
    const Pack<T, N> saved = load<N>(kept + i);
    Pack<T, N> v = load<N>(dy + i);
    for (int k = 0; k < N; ++k) v.v[k] = T(float(v.v[k]) * math::act_slope<A>(float(saved.v[k])));
    store(dx + i, v);
  });
}

void Activation::cuda(CudaContext& c) const {
  const int64_t n = x.numel();
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    visit_act(act, [&]<Act A>() {
      const Grid g = grid_for(c, ceil_div(n, kPack<T>));
      const bool packed = aligned_for(kPack<T>, x.as<T>(), y.as<T>());
      launch_kernel(c, kName, activation_kernel<T, A>, g.blocks, g.threads, 0, y.as<T>(), x.as<T>(), n, packed);
    });
  });
}

void ActivationGrad::cuda(CudaContext& c) const {
  const int64_t n = dy.numel();
  if (n == 0) return;
  visit_float(dy.dtype, [&]<class T>() {
    visit_act(act, [&]<Act A>() {
      const Grid g = grid_for(c, ceil_div(n, kPack<T>));
      const bool packed = aligned_for(kPack<T>, kept.as<T>(), dy.as<T>(), dx.as<T>());
      launch_kernel(c, kName, activation_grad_kernel<T, A>, g.blocks, g.threads, 0, dx.as<T>(), kept.as<T>(),
                    dy.as<T>(), n, packed);
    });
  });
}

}  // namespace sluice::kernels
