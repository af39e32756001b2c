// CUDA halves of the row norm: a warp per row, read twice while it is in L1. y may be x; dx may be dy.
#include "kernels/common/reduce.cuh"
#include "kernels/common/vec.cuh"
#include "kernels/common/visit.h"
#include "kernels/row_normalise.h"

namespace sluice::kernels {

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    row_normalise_kernel(T* y, float* norms, const T* x, int64_t rows, int64_t cols, float eps) {
  const int64_t row = global_thread() / 32, begin = row * cols;
  if (row >= rows) return;  // whole warps
  float sum = 0.0f;
  for (int64_t c = int64_t(lane()) * N; c < cols; c += 32 * N) {
    const Pack<T, N> v = load<N>(x + begin + c);
    for (int k = 0; k < N; ++k) sum += float(v.v[k]) * float(v.v[k]);
  }
  const float norm = sqrtf(warp_reduce<Sum>(sum)), scale = 1.0f / (norm < eps ? eps : norm);
  if (lane() == 0) norms[row] = norm;
  for (int64_t c = int64_t(lane()) * N; c < cols; c += 32 * N) {
    Pack<T, N> v = load<N>(x + begin + c);
    for (int k = 0; k < N; ++k) v.v[k] = T(float(v.v[k]) * scale);
    store(y + begin + c, v);
  }
}

template <class T>
struct NormalisedRows {
  const T *y, *dy;
  const float* norms;
  int64_t rows, cols;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) row_normalise_grad_kernel(T* dx, NormalisedRows<T> in, float eps) {
  const int64_t row = global_thread() / 32, begin = row * in.cols;
  if (row >= in.rows) return;  // whole warps
  const float norm = in.norms[row], scale = 1.0f / (norm < eps ? eps : norm);
  float along = 0.0f;
  if (!(norm < eps))  // whole warps
    for (int64_t c = int64_t(lane()) * N; c < in.cols; c += 32 * N) {
      const Pack<T, N> y = load<N>(in.y + begin + c), dy = load<N>(in.dy + begin + c);
      for (int k = 0; k < N; ++k) along += float(y.v[k]) * float(dy.v[k]);
    }
  along = warp_reduce<Sum>(along);
  for (int64_t c = int64_t(lane()) * N; c < in.cols; c += 32 * N) {
    const Pack<T, N> y = load<N>(in.y + begin + c);
    Pack<T, N> v = load<N>(in.dy + begin + c);
    for (int k = 0; k < N; ++k) v.v[k] = T((float(v.v[k]) - float(y.v[k]) * along) * scale);
    store(dx + begin + c, v);
  }
}

void RowNormalise::cuda(CudaContext& c) const {
  const int64_t rows = x.dim(0), cols = x.dim(1);
  if (rows == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const bool packed = cols % 4 == 0 && aligned_for(4, x.as<T>(), y.as<T>());
    launch_kernel(c, kName, packed ? row_normalise_kernel<T, 4> : row_normalise_kernel<T, 1>,
                  ceil_div(rows * 32, kThreads), kThreads, 0, y.as<T>(), norms.as<float>(), x.as<T>(), rows, cols, eps);
  });
}

void RowNormaliseGrad::cuda(CudaContext& c) const {
  const int64_t rows = dy.dim(0), cols = dy.dim(1);
  if (rows == 0) return;
  visit_float(dy.dtype, [&]<class T>() {
    const bool packed = cols % 4 == 0 && aligned_for(4, y.as<T>(), dy.as<T>(), dx.as<T>());
    launch_kernel(c, kName, packed ? row_normalise_grad_kernel<T, 4> : row_normalise_grad_kernel<T, 1>,
                  ceil_div(rows * 32, kThreads), kThreads, 0, dx.as<T>(),
                  NormalisedRows<T>{y.as<T>(), dy.as<T>(), norms.as<float>(), rows, cols}, eps);
  });
}

}  // namespace sluice::kernels
