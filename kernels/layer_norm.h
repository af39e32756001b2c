// Layer norm over the last dimension (Ba, Kiros and Hinton 2016): y = gamma (x - mean) / spread + beta for each row,
// and its gradients. x is seen as [rows, C]. Aliasing: y may be x; dx may be dy.
#pragma once

#include <cmath>

#include "kernels/common/context.h"

namespace sluice {

/// What a row is divided by.
enum class LayerNormForm : uint8_t {
  kStandard,    // sqrt(variance + eps), biased variance
  kUnbiasedStd  // sqrt(variance) + eps, unbiased variance; 0 for rows of one element
};

namespace kernels {

/// Statistics of a row: its mean, and sqrt(variance + eps) or sqrt(variance) by the form. What x - mean is multiplied
/// by is 1 / (deviation + shift), shift = layer_norm_shift(form, eps).
SLUICE_HD float layer_norm_shift(LayerNormForm form, float eps) {
  return form == LayerNormForm::kStandard ? 0.0f : eps;
}
/// The deviation of a row from its sum of squares about the mean.
SLUICE_HD float layer_norm_deviation(LayerNormForm form, float squares, int64_t count, float eps) {
  if (form == LayerNormForm::kStandard) return sqrtf(squares / float(count) + eps);
  return count > 1 ? sqrtf(squares / float(count - 1)) : 0.0f;
}
/// How much of (x - mean) sum(g (x - mean)) the gradient of a row loses, g = gamma dy; a row without deviation keeps
/// all, since std has no derivative there.
SLUICE_HD float layer_norm_slope(LayerNormForm form, float deviation, int64_t count, float eps) {
  const float inverse = 1.0f / (deviation + layer_norm_shift(form, eps));
  if (form == LayerNormForm::kStandard) return inverse * inverse * inverse / float(count);
  return deviation > 0.0f ? inverse * inverse / (deviation * float(count - 1)) : 0.0f;
}

struct LayerNorm {
  static constexpr const char* kName = "layer_norm";
  ConstRef x;            // [..., C]; f32 or bf16
  ConstRef gamma, beta;  // [C] f32
  Ref y;                 // as x
  Ref stats{};           // [rows, 2] f32: mean, deviation; undefined: not wanted
  float eps = 1e-5f;
  LayerNormForm form = LayerNormForm::kStandard;

  void check() const;
  Operands operands() const { return {{x, gamma, beta}, {y, stats}}; }
  Cost cost() const { return operands().once(x.numel() * 7); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx, and sums = (sum dy (x - mean) / spread, sum dy) down the columns: the gradients of gamma and beta.
struct LayerNormGrad {
  static constexpr const char* kName = "layer_norm_grad";
  ConstRef x;      // [..., C]; f32 or bf16
  ConstRef dy;     // as x
  ConstRef gamma;  // [C] f32: the version that the backward pass uses
  ConstRef stats;  // [rows, 2] f32
  Ref dx;          // as x; undefined: not wanted
  Ref sums;        // [2, C] f32
  float eps = 1e-5f;
  LayerNormForm form = LayerNormForm::kStandard;

  void check() const;
  Operands operands() const { return {{x, dy, gamma, stats}, {dx, sums}}; }
  Cost cost() const { return operands().once(x.numel() * 14); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dgamma (+)= sums[0], dbeta (+)= sums[1].
struct LayerNormGradParams {
  static constexpr const char* kName = "layer_norm_grad_params";
  ConstRef sums;      // [2, C] f32
  Ref dgamma, dbeta;  // [C] f32
  bool accumulate_gamma = false;
  bool accumulate_beta = false;

  void check() const;
  Operands operands() const { return {{sums}, {dgamma, dbeta}}; }
  Cost cost() const {
    Cost c = operands().once(sums.numel());
    c.read += (accumulate_gamma ? dgamma.bytes() : 0) + (accumulate_beta ? dbeta.bytes() : 0);
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_norm_input(const char* op, const ConstRef& x) {
  expect_float(op, "x", x.dtype);
  if (x.shape.rank() < 2) throw ShapeError(str(op, ": x has shape ", x.shape.text(), ", expected [..., C]"));
}
inline void expect_norm_vector(const char* op, const char* what, const ConstRef& r, const Shape& expected) {
  expect_dtype(op, what, r.dtype, DType::kF32);
  expect_shape(op, what, r.shape, expected);
}
inline void expect_like_input(const char* op, const char* what, const ConstRef& r, const ConstRef& x) {
  expect_dtype(op, what, r.dtype, x.dtype);
  expect_shape(op, what, r.shape, x.shape);
}
}  // namespace detail

inline void LayerNorm::check() const {
  detail::expect_norm_input(kName, x);
  detail::expect_norm_vector(kName, "gamma", gamma, {x.shape.cols()});
  detail::expect_norm_vector(kName, "beta", beta, {x.shape.cols()});
  detail::expect_like_input(kName, "y", y, x);
  if (stats.defined()) detail::expect_norm_vector(kName, "stats", stats, {x.shape.rows(), 2});
}
inline void LayerNormGrad::check() const {
  detail::expect_norm_input(kName, x);
  detail::expect_like_input(kName, "dy", dy, x);
  detail::expect_norm_vector(kName, "gamma", gamma, {x.shape.cols()});
  detail::expect_norm_vector(kName, "stats", stats, {x.shape.rows(), 2});
  if (dx.defined()) detail::expect_like_input(kName, "dx", dx, x);
  detail::expect_norm_vector(kName, "sums", sums, {2, x.shape.cols()});
}
inline void LayerNormGradParams::check() const {
  expect_rank(kName, "dgamma", dgamma.shape, 1);
  detail::expect_norm_vector(kName, "dgamma", dgamma, dgamma.shape);
  detail::expect_norm_vector(kName, "dbeta", dbeta, dgamma.shape);
  detail::expect_norm_vector(kName, "sums", sums, {2, dgamma.dim(0)});
}

}  // namespace kernels
}  // namespace sluice
