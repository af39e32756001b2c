// CUDA halves of average pooling. Backward gathers: a thread sums what its inputs' windows sent them, in window order.
#include "kernels/avg_pool.h"
#include "kernels/common/pool2d.cuh"

namespace sluice::kernels {

template <class T, int N>
__device__ inline void store_mean(T* to, const Pack<float, N>& sum, const Pool2d& pool) {
  const float window = float(pool.window_h * pool.window_w);
  Pack<T, N> mean;
  for (int k = 0; k < N; ++k) mean.v[k] = T(sum.v[k] / window);
  store(to, mean);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) avg_pool_kernel(T* y, const T* x, PoolSizes s) {
  for_pixels<N>(s, s.p, s.q, [=](int64_t out, int64_t image, int row, int column, int64_t channel) {
    const Pool2d& pool = s.pool;
    const int top = row * pool.stride - pool.padding, left = column * pool.stride - pool.padding;
    Pack<float, N> sum{};
    for (int i = top < 0 ? -top : 0; i < pool.window_h && top + i < s.h; ++i)
      for (int j = left < 0 ? -left : 0; j < pool.window_w && left + j < s.w; ++j) {
        const Pack<T, N> v = load<N>(x + ((image * s.h + top + i) * s.w + left + j) * s.c + channel);
        for (int k = 0; k < N; ++k) sum.v[k] += float(v.v[k]);
      }
    store_mean(y + out, sum, pool);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 3) avg_pool_grad_kernel(T* dx, const T* dy, PoolSizes s) {
  for_pixels<N>(s, s.h, s.w, [=](int64_t in, int64_t image, int row, int column, int64_t channel) {
    const WindowRange rows = windows_over(row, s.pool.window_h, s.pool, s.p);
    const WindowRange columns = windows_over(column, s.pool.window_w, s.pool, s.q);
    Pack<float, N> sum{};
    for (int p = rows.first; p <= rows.last; ++p)
      for (int q = columns.first; q <= columns.last; ++q) {
        const Pack<T, N> d = load<N>(dy + ((image * s.p + p) * s.q + q) * s.c + channel);
        for (int k = 0; k < N; ++k) sum.v[k] += float(d.v[k]);
      }
    store_mean(dx + in, sum, s.pool);
  });
}

void AvgPool::cuda(CudaContext& c) const {
  if (y.numel() == 0) return;
  const PoolSizes s = pool_sizes(pool, x.shape, y.shape);
  visit_pack(
      x.dtype, s.c,
      [&]<class T, int N>() {
        const Grid g = grid_for(c, y.numel() / N);
        launch_kernel(c, kName, avg_pool_kernel<T, N>, g.blocks, g.threads, 0, y.as<T>(), x.as<T>(), s);
      },
      x.data, y.data);
}

void AvgPoolGrad::cuda(CudaContext& c) const {
  if (dx.numel() == 0) return;
  const PoolSizes s = pool_sizes(pool, dx.shape, dy.shape);
  visit_pack(
      dy.dtype, s.c,
      [&]<class T, int N>() {
        const Grid g = grid_for(c, dx.numel() / N);
        launch_kernel(c, kName, avg_pool_grad_kernel<T, N>, g.blocks, g.threads, 0, dx.as<T>(), dy.as<T>(), s);
      },
      dx.data, dy.data);
}

}  // namespace sluice::kernels
