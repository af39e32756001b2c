// CUDA halves of max pooling. Backward gathers: a thread sums what its inputs' windows sent them, in window order.
#include "kernels/common/pool2d.cuh"
#include "kernels/max_pool.h"

namespace sluice::kernels {

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) max_pool_kernel(T* y, uint8_t* index, const T* x, PoolSizes s) {
  for_pixels<N>(s, s.p, s.q, [=](int64_t out, int64_t image, int row, int column, int64_t channel) {
    const Pool2d& pool = s.pool;
    const int top = row * pool.stride - pool.padding, left = column * pool.stride - pool.padding;
    Pack<T, N> best{};
    Pack<uint8_t, N> winner{};
    bool first = true;
    for (int i = top < 0 ? -top : 0; i < pool.window_h && top + i < s.h; ++i)
      for (int j = left < 0 ? -left : 0; j < pool.window_w && left + j < s.w; ++j) {
        const Pack<T, N> v = load<N>(x + ((image * s.h + top + i) * s.w + left + j) * s.c + channel);
        for (int k = 0; k < N; ++k) {
          const float now = float(v.v[k]), old = float(best.v[k]);
          if (first || now > old || now != now) {
            best.v[k] = v.v[k];
            winner.v[k] = uint8_t(i * pool.window_w + j);
          }
        }
        first = false;
      }
    store(y + out, best);
    if (index != nullptr) store(index + out, winner);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3)
    max_pool_grad_kernel(T* dx, const uint8_t* index, const T* dy, PoolSizes s) {
  for_pixels<N>(s, s.h, s.w, [=](int64_t in, int64_t image, int row, int column, int64_t channel) {
    const Pool2d& pool = s.pool;
    const WindowRange rows = windows_over(row, pool.window_h, pool, s.p);
    const WindowRange columns = windows_over(column, pool.window_w, pool, s.q);
    Pack<float, N> sum{};
    for (int p = rows.first; p <= rows.last; ++p)
      for (int q = columns.first; q <= columns.last; ++q) {
        const int64_t at = ((image * s.p + p) * s.q + q) * s.c + channel;
        const int mine =
            (row + pool.padding - p * pool.stride) * pool.window_w + column + pool.padding - q * pool.stride;
        const Pack<T, N> d = load<N>(dy + at);
        const Pack<uint8_t, N> winner = load<N>(index + at);
        for (int k = 0; k < N; ++k) sum.v[k] += winner.v[k] == mine ? float(d.v[k]) : 0.0f;
      }
    Pack<T, N> result;
    for (int k = 0; k < N; ++k) result.v[k] = T(sum.v[k]);
    store(dx + in, result);
  });
}

void MaxPool::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const PoolSizes s = pool_sizes(pool, x.shape, y.shape);
  visit_pack(
      x.dtype, s.c,
      [&]<class T, int N>() {
        const Grid g = grid_for(c, y.numel() / N);
        launch_kernel(c, kName, max_pool_kernel<T, N>, g.blocks, g.threads, 0, y.as<T>(), index.as<uint8_t>(),
                      x.as<T>(), s);
      },
      x.data, y.data, index.as<uint8_t>());
}

void MaxPoolGrad::cuda(CudaContext& c) const {
  if (dx.numel() == 0) return;
  const PoolSizes s = pool_sizes(pool, dx.shape, dy.shape);
  visit_pack(
      dy.dtype, s.c,
      [&]<class T, int N>() {
        const Grid g = grid_for(c, dx.numel() / N);
        launch_kernel(c, kName, max_pool_grad_kernel<T, N>, g.blocks, g.threads, 0, dx.as<T>(), index.as<uint8_t>(),
                      dy.as<T>(), s);
      },
      dx.data, dy.data, index.as<uint8_t>());
}

}  // namespace sluice::kernels
