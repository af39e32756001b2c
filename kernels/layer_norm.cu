// CUDA halves of layer norm: a warp per row; the column sums by tiles, in fixed order. y may be x, dx may be dy.
#include "kernels/common/columns.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/visit.h"
#include "kernels/layer_norm.h"

namespace sluice::kernels {

struct LayerNormRows {
  int64_t rows, cols;
  float eps;
  LayerNormForm form;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_kernel(T* y, float* stats, const T* x, const float* gamma, const float* beta, LayerNormRows s) {
  const int64_t row = global_thread() / 32, cols = s.cols;
  if (row >= s.rows) return;  // whole warps
  x += row * cols;
  float sum = 0.0f;
  for (int64_t j = lane(); j < cols; j += 32) sum += float(x[j]);
  const float mean = warp_reduce<Sum>(sum) / float(cols);
  float squares = 0.0f;
  for (int64_t j = lane(); j < cols; j += 32) squares += (float(x[j]) - mean) * (float(x[j]) - mean);
  const float deviation = layer_norm_deviation(s.form, warp_reduce<Sum>(squares), cols, s.eps);
  const float inverse = 1.0f / (deviation + layer_norm_shift(s.form, s.eps));
  for (int64_t j = lane(); j < cols; j += 32)
    y[row * cols + j] = T((float(x[j]) - mean) * inverse * gamma[j] + beta[j]);
  if (stats != nullptr && lane() == 0) {
    stats[2 * row] = mean;
    stats[2 * row + 1] = deviation;
  }
}

template <class T>
struct LayerNormReads {
  const T *x, *dy;
  const float *gamma, *stats;
};

template <class T>
__global__ void __launch_bounds__(kThreads) layer_norm_grad_input_kernel(T* dx, LayerNormReads<T> in, LayerNormRows s) {
  const int64_t row = global_thread() / 32, cols = s.cols, first = row * cols;
  if (row >= s.rows) return;  // whole warps
  const float mean = in.stats[2 * row], deviation = in.stats[2 * row + 1];
  float sum = 0.0f, product = 0.0f;
  for (int64_t j = lane(); j < cols; j += 32) {
    const float g = in.gamma[j] * float(in.dy[first + j]);
    sum += g;
    product += g * (float(in.x[first + j]) - mean);
  }
  const float offset = warp_reduce<Sum>(sum) / float(cols);
  const float slope = layer_norm_slope(s.form, deviation, cols, s.eps) * warp_reduce<Sum>(product);
  const float inverse = 1.0f / (deviation + layer_norm_shift(s.form, s.eps));
  for (int64_t j = lane(); j < cols; j += 32) {
    const float g = in.gamma[j] * float(in.dy[first + j]);
    dx[first + j] = T((g - offset) * inverse - (float(in.x[first + j]) - mean) * slope);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    layer_norm_grad_sums_kernel(float* partial, LayerNormReads<T> in, LayerNormRows s, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  const float shift = layer_norm_shift(s.form, s.eps);
  ColumnSums<2, N> sums;
  sums.clear();
  for (int64_t r = p.begin; r < p.end; r += p.strips) {
    const int64_t i = r * g.cols + p.column;
    const float mean = in.stats[2 * r], inverse = 1.0f / (in.stats[2 * r + 1] + shift);
    const Pack<T, N> x = load<N>(in.x + i), dy = load<N>(in.dy + i);
    for (int j = 0; j < N; ++j) {
      sums.v[0][j] += float(dy.v[j]) * ((float(x.v[j]) - mean) * inverse);
      sums.v[1][j] += float(dy.v[j]);
    }
  }
  merge_strips(sums, g, p).write(partial, g, p);
}

__global__ void __launch_bounds__(kThreads)
    layer_norm_finish_sums_kernel(float* sums, const float* partial, ColumnGrid g) {
  const ColumnPlace p = column_place(g);
  ColumnSums<2, 1> s;
  s.read(partial, g, p);
  merge_strips(s, g, p).write(sums, g, p);
}

/// Gradients that are added to rather than written.
struct LayerNormAdds {
  bool gamma, beta;
};

__global__ void __launch_bounds__(kThreads)
    layer_norm_grad_params_kernel(float* dgamma, float* dbeta, const float* sums, int64_t cols, LayerNormAdds add) {
  const int64_t j = global_thread();
  if (j >= cols) return;
  dgamma[j] = (add.gamma ? dgamma[j] : 0.0f) + sums[j];
  dbeta[j] = (add.beta ? dbeta[j] : 0.0f) + sums[cols + j];
}

namespace {

template <class T>
void grad_sums(CudaContext& c, const LayerNormReads<T>& in, const LayerNormRows& s, const Ref& sums) {
  const bool packed = s.cols % 4 == 0 && aligned_for(4, in.x, in.dy);
  const ColumnGrid g = column_grid(s.rows, s.cols, packed), second = finish_grid(g.chunks, s.cols);
  auto* partial = static_cast<float*>(c.workspace(size_t(g.chunks * 2 * s.cols) * sizeof(float)));
  const auto kernel = packed ? layer_norm_grad_sums_kernel<T, 4> : layer_norm_grad_sums_kernel<T, 1>;
  launch_kernel(c, LayerNormGrad::kName, kernel, g.blocks(), kThreads, 0, partial, in, s, g);
  launch_kernel(c, LayerNormGrad::kName, layer_norm_finish_sums_kernel, second.blocks(), kThreads, 0, sums.as<float>(),
                partial, second);
}

}  // namespace

void LayerNorm::cuda(CudaContext& c) const {
  if (x.numel() == 0) return;
  const LayerNormRows s{x.shape.rows(), x.shape.cols(), eps, form};
  visit_float(x.dtype, [&]<class T>() {
    launch_kernel(c, kName, layer_norm_kernel<T>, ceil_div(s.rows * 32, kThreads), kThreads, 0, y.as<T>(),
                  stats.as<float>(), x.as<T>(), gamma.as<float>(), beta.as<float>(), s);
  });
}

void LayerNormGrad::cuda(CudaContext& c) const {
  const LayerNormRows s{x.shape.rows(), x.shape.cols(), eps, form};
  if (s.cols == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    const LayerNormReads<T> in{x.as<T>(), dy.as<T>(), gamma.as<float>(), stats.as<float>()};
    grad_sums(c, in, s, sums);  // first: dx may be dy
    if (dx.defined() && s.rows > 0)
      launch_kernel(c, kName, layer_norm_grad_input_kernel<T>, ceil_div(s.rows * 32, kThreads), kThreads, 0, dx.as<T>(),
                    in, s);
  });
}

void LayerNormGradParams::cuda(CudaContext& c) const {
  const int64_t cols = dgamma.dim(0);
  if (cols == 0) return;
  launch_kernel(c, kName, layer_norm_grad_params_kernel, ceil_div(cols, kThreads), kThreads, 0, dgamma.as<float>(),
                dbeta.as<float>(), sums.as<float>(), cols, LayerNormAdds{accumulate_gamma, accumulate_beta});
}

}  // namespace sluice::kernels
