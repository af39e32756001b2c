// CUDA halves of slicing: element by element over what is written, in packs where a token is whole packs.
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/slice_tokens.h"

namespace sluice::kernels {

struct SlicedShape {
  int64_t whole, part, before;  // elements of a sample, of its slice, in front of that
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) slice_tokens_kernel(T* y, const T* x, int64_t n, SlicedShape z) {
  for (int64_t i = global_thread() * N; i < n; i += grid_threads() * N) {
    const int64_t sample = i / z.part;
    store(y + i, load<N>(x + sample * z.whole + z.before + (i - sample * z.part)));
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) slice_tokens_grad_kernel(T* dx, const T* dy, int64_t n, SlicedShape z) {
  for (int64_t i = global_thread() * N; i < n; i += grid_threads() * N) {
    const int64_t sample = i / z.whole, at = i - sample * z.whole - z.before;
    Pack<T, N> v;
    if (at >= 0 && at < z.part)
      v = load<N>(dy + sample * z.part + at);
    else
      for (int k = 0; k < N; ++k) v.v[k] = T(0.0f);
    store(dx + i, v);
  }
}

void SliceTokens::cuda(CudaContext& c) const {
  const int64_t n = y.numel(), cols = x.dim(2);
  if (n == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    constexpr int kN = kPack<T>;
    const bool packed = cols % kN == 0 && aligned_for(kN, x.as<T>(), y.as<T>());
    const Grid g = grid_for(c, packed ? n / kN : n);
    launch_kernel(c, kName, packed ? slice_tokens_kernel<T, kN> : slice_tokens_kernel<T, 1>, g.blocks, g.threads, 0,
                  y.as<T>(), x.as<T>(), n, SlicedShape{x.dim(1) * cols, y.dim(1) * cols, first * cols});
  });
}

void SliceTokensGrad::cuda(CudaContext& c) const {
  const int64_t n = dx.numel(), cols = dx.dim(2);
  if (n == 0) return;
  visit_float(dx.dtype, [&]<class T>() {
    constexpr int kN = kPack<T>;
    const bool packed = cols % kN == 0 && aligned_for(kN, dx.as<T>(), dy.as<T>());
    const Grid g = grid_for(c, packed ? n / kN : n);
    launch_kernel(c, kName, packed ? slice_tokens_grad_kernel<T, kN> : slice_tokens_grad_kernel<T, 1>, g.blocks,
                  g.threads, 0, dx.as<T>(), dy.as<T>(), n,
                  SlicedShape{dx.dim(1) * cols, dy.dim(1) * cols, first * cols});
  });
}

}  // namespace sluice::kernels
