// CPU halves of layer norm: rows in the first-level cache; column sums in blocks of fixed size, combined in order.
#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/common/lanes.h"
#include "kernels/common/parallel.h"
#include "kernels/common/visit.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kRows = 64;  // of a block: the column sums of a block are few against it

template <class T>
void normalise(const LayerNorm& call, int64_t r) {
  const int64_t cols = call.x.shape.cols();
  const T* x = call.x.as<T>() + r * cols;
  T* y = call.y.as<T>() + r * cols;
  const float *gamma = call.gamma.as<float>(), *beta = call.beta.as<float>();
  const float mean = lane_sum(0, cols, [=](int64_t j) { return float(x[j]); }) / float(cols);
  const float squares = lane_sum(0, cols, [=](int64_t j) { return (float(x[j]) - mean) * (float(x[j]) - mean); });
  const float deviation = layer_norm_deviation(call.form, squares, cols, call.eps);
  const float inverse = 1.0f / (deviation + layer_norm_shift(call.form, call.eps));
#pragma omp simd
  for (int64_t j = 0; j < cols; ++j) store(y[j], (float(x[j]) - mean) * inverse * gamma[j] + beta[j]);
  if (!call.stats.defined()) return;
  call.stats.as<float>()[2 * r] = mean;
  call.stats.as<float>()[2 * r + 1] = deviation;
}

/// One row's dx, and its part of the column sums.
template <class T>
void grad_row(const LayerNormGrad& call, int64_t r, float* dgamma, float* dbeta) {
  const int64_t cols = call.x.shape.cols();
  const T *x = call.x.as<T>() + r * cols, *dy = call.dy.as<T>() + r * cols;
  const float* gamma = call.gamma.as<float>();
  const float mean = call.stats.as<float>()[2 * r], deviation = call.stats.as<float>()[2 * r + 1];
  const float inverse = 1.0f / (deviation + layer_norm_shift(call.form, call.eps));
#pragma omp simd
  for (int64_t j = 0; j < cols; ++j) {
    const float d = float(dy[j]);
    dgamma[j] += d * ((float(x[j]) - mean) * inverse);
    dbeta[j] += d;
  }
  if (!call.dx.defined()) return;
  const float sum = lane_sum(0, cols, [=](int64_t j) { return gamma[j] * float(dy[j]); });
  const float product = lane_sum(0, cols, [=](int64_t j) { return gamma[j] * float(dy[j]) * (float(x[j]) - mean); });
  const float offset = sum / float(cols);
  const float slope = layer_norm_slope(call.form, deviation, cols, call.eps) * product;
  T* dx = call.dx.as<T>() + r * cols;
#pragma omp simd
  for (int64_t j = 0; j < cols; ++j)
    store(dx[j], (gamma[j] * float(dy[j]) - offset) * inverse - (float(x[j]) - mean) * slope);
}

void add_to(Ref to, const float* sums, bool accumulate) {
  float* out = to.as<float>();
  for (int64_t j = 0; j < to.numel(); ++j) out[j] = (accumulate ? out[j] : 0.0f) + sums[j];
}

}  // namespace

template <>
void LayerNorm::cpu<kIsa>(CpuContext& c) const {
  if (x.numel() == 0) return;
  visit_float(x.dtype, [&]<class T>() {
    parallel_blocks(c, x.shape.rows(), kRows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) normalise<T>(*this, r);
    });
  });
}

template <>
void LayerNormGrad::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = x.shape.rows(), cols = x.shape.cols(), blocks = (rows + kRows - 1) / kRows;
  if (cols == 0) return;
  auto* partial = static_cast<float*>(c.workspace(size_t(blocks * 2 * cols) * sizeof(float)));
  visit_float(x.dtype, [&]<class T>() {
    parallel_blocks(c, rows, kRows, [&](int64_t begin, int64_t end) {
      float* dgamma = partial + begin / kRows * 2 * cols;
      std::fill_n(dgamma, 2 * cols, 0.0f);
      for (int64_t r = begin; r < end; ++r) grad_row<T>(*this, r, dgamma, dgamma + cols);
    });
  });
  parallel_blocks(c, 2 * cols, 256, [&](int64_t begin, int64_t end) {
    float* out = sums.as<float>();
    std::fill(out + begin, out + end, 0.0f);
    for (int64_t b = 0; b < blocks; ++b) {
#pragma omp simd
      for (int64_t j = begin; j < end; ++j) out[j] += partial[b * 2 * cols + j];
    }
  });
}

template <>
void LayerNormGradParams::cpu<kIsa>(CpuContext&) const {
  add_to(dgamma, sums.as<float>(), accumulate_gamma);
  add_to(dbeta, sums.as<float>() + dgamma.numel(), accumulate_beta);
}

}  // namespace sluice::kernels
