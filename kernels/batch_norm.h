// Batch norm over all but the last dimension, cut into its passes over memory, each a call of its own:
//   forward    statistics (reads x), apply (reads x, writes y; adds a residual and applies ReLU behind the norm)
//   backward   gradient sums (reads x, dy), input gradient (reads x, dy, writes dx)
// Ioffe and Szegedy 2015. x is seen as [rows, C]. Aliasing: y may be x or residual; dx and dresidual may be dy.
#pragma once

#include "kernels/common/bits.h"
#include "kernels/common/context.h"

namespace sluice::kernels {

/// What the normalisation of one micro-batch is, per channel: f32 [4, C], one row each. Kept for the backward pass.
enum class BatchNormRow : int64_t {
  kMean = 0,
  kInvStd = 1,
  kScale = 2,
  kShift = 3
};  // scale = gamma inv_std, shift = beta

/// The normalised value before residual and ReLU. The backward pass recomputes it to know where ReLU was open, so
/// this order of operations is part of the contract.
SLUICE_HD float batch_norm_value(float x, float mean, float scale, float shift) { return (x - mean) * scale + shift; }

/// From the rows of x: mean and biased variance per channel, found without cancellation, and the running ones updated
/// by r += momentum * (batch - r) with the unbiased variance (one row: the biased one). No rows: mean 0, variance 0,
/// running ones untouched.
struct BatchNormStatistics {
  static constexpr const char* kName = "batch_norm_statistics";
  ConstRef x;            // [..., C]; f32 or bf16
  ConstRef gamma, beta;  // [C] f32
  Ref stats;             // [4, C] f32: mean, inv_std = 1 / sqrt(var + eps), gamma * inv_std, beta
  Ref running_mean{};    // [C] f32; undefined: not updated
  Ref running_var{};     // [C] f32; both or none
  float eps = 1e-5f;
  float momentum = 0.1f;

  void check() const;
  Operands operands() const { return {{x, gamma, beta}, {stats, running_mean, running_var}}; }
  Cost cost() const { return operands().once(x.numel() * 4); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// The same rows from the running statistics, for evaluation.
struct BatchNormRunning {
  static constexpr const char* kName = "batch_norm_running";
  ConstRef gamma, beta, running_mean, running_var;  // [C] f32
  Ref stats;                                        // [4, C] f32
  float eps = 1e-5f;

  void check() const;
  Operands operands() const { return {{gamma, beta, running_mean, running_var}, {stats}}; }
  Cost cost() const { return operands().once(gamma.numel() * 4); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// y = relu?(batch_norm_value(x) + residual?), and a bit for each element where ReLU is open.
struct BatchNormApply {
  static constexpr const char* kName = "batch_norm_apply";
  ConstRef x;           // [..., C]; f32 or bf16
  ConstRef stats;       // [4, C] f32
  ConstRef residual{};  // as x; undefined: none
  Ref y;                // as x
  Ref bits{};           // [packed_bytes(x.numel())] u8: y > 0; with ReLU only; undefined: not wanted
  bool relu = false;

  void check() const;
  Operands operands() const { return {{x, stats, residual}, {y, bits}}; }
  Cost cost() const { return operands().once(x.numel() * 4); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// Where dz, the gradient in front of ReLU, comes from: dy where ReLU was open. With a residual that is where the bits
/// say so; without one it is recomputed from x, which is read anyway, so nothing need be kept.
enum class BatchNormMask : uint8_t { kNone, kFromInput, kFromBits };

/// sums = (sum dz, sum dz (x - mean)) per channel, and dresidual = dz where it is wanted, and always with bits.
struct BatchNormGradSums {
  static constexpr const char* kName = "batch_norm_grad_sums";
  ConstRef x;       // [..., C]; f32 or bf16
  ConstRef dy;      // as x
  ConstRef bits{};  // [packed_bytes(x.numel())] u8; with kFromBits only
  ConstRef stats;   // [4, C] f32
  Ref sums;         // [2, C] f32
  Ref dresidual{};  // as x; undefined: not wanted
  BatchNormMask mask = BatchNormMask::kNone;

  void check() const;
  Operands operands() const { return {{x, dy, bits, stats}, {sums, dresidual}}; }
  Cost cost() const { return operands().once(x.numel() * 6); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx = gamma inv_std (dz - mean(dz) - (x - mean) inv_std^2 mean(dz (x - mean))). In evaluation, where the statistics
/// are constants, dx = gamma inv_std dz.
struct BatchNormGradInput {
  static constexpr const char* kName = "batch_norm_grad_input";
  ConstRef x;                                 // [..., C]; f32 or bf16
  ConstRef dy;                                // as x; dresidual of the sums (with kNone) where that was wanted
  ConstRef stats;                             // [4, C] f32
  ConstRef gamma;                             // [C] f32: the version that the backward pass uses
  ConstRef sums;                              // [2, C] f32
  Ref dx;                                     // as x
  BatchNormMask mask = BatchNormMask::kNone;  // not kFromBits
  bool training = true;

  void check() const;
  Operands operands() const { return {{x, dy, stats, gamma, sums}, {dx}}; }
  Cost cost() const { return operands().once(x.numel() * 8); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dgamma (+)= inv_std * sums[1], dbeta (+)= sums[0].
struct BatchNormGradParams {
  static constexpr const char* kName = "batch_norm_grad_params";
  ConstRef sums;      // [2, C] f32
  ConstRef stats;     // [4, C] f32
  Ref dgamma, dbeta;  // [C] f32
  bool accumulate_gamma = false;
  bool accumulate_beta = false;

  void check() const;
  Operands operands() const { return {{sums, stats}, {dgamma, dbeta}}; }
  Cost cost() const { return operands().once(dgamma.numel() * 3); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_per_channel(const char* op, const char* what, const ConstRef& r, const Shape& expected) {
  expect_dtype(op, what, r.dtype, DType::kF32);
  expect_shape(op, what, r.shape, expected);
}
inline void expect_like(const char* op, const char* what, const ConstRef& r, const ConstRef& x) {
  expect_dtype(op, what, r.dtype, x.dtype);
  expect_shape(op, what, r.shape, x.shape);
}
inline void expect_channels(const char* op, const ConstRef& x) {
  expect_float(op, "x", x.dtype);
  if (x.shape.rank() < 2) throw ShapeError(str(op, ": x has shape ", x.shape.text(), ", expected [..., channels]"));
}
}  // namespace detail

inline void BatchNormStatistics::check() const {
  detail::expect_channels(kName, x);
  const int64_t channels = x.shape.cols();
  detail::expect_per_channel(kName, "gamma", gamma, {channels});
  detail::expect_per_channel(kName, "beta", beta, {channels});
  detail::expect_per_channel(kName, "stats", stats, {4, channels});
  if (running_mean.defined() != running_var.defined())
    throw ShapeError("batch_norm_statistics: one running statistic is missing, expected both or none");
  if (!running_mean.defined()) return;
  detail::expect_per_channel(kName, "running_mean", running_mean, {channels});
  detail::expect_per_channel(kName, "running_var", running_var, {channels});
}
inline void BatchNormRunning::check() const {
  expect_rank(kName, "gamma", gamma.shape, 1);
  detail::expect_per_channel(kName, "gamma", gamma, gamma.shape);
  detail::expect_per_channel(kName, "beta", beta, gamma.shape);
  detail::expect_per_channel(kName, "running_mean", running_mean, gamma.shape);
  detail::expect_per_channel(kName, "running_var", running_var, gamma.shape);
  detail::expect_per_channel(kName, "stats", stats, {4, gamma.dim(0)});
}
inline void BatchNormApply::check() const {
  detail::expect_channels(kName, x);
  detail::expect_per_channel(kName, "stats", stats, {4, x.shape.cols()});
  if (residual.defined()) detail::expect_like(kName, "residual", residual, x);
  detail::expect_like(kName, "y", y, x);
  if (!bits.defined()) return;
  if (!relu) throw ShapeError("batch_norm_apply: bits without ReLU");
  expect_bits(kName, bits, x.numel());
}
inline void BatchNormGradSums::check() const {
  detail::expect_channels(kName, x);
  detail::expect_like(kName, "dy", dy, x);
  if (mask == BatchNormMask::kFromBits) {
    expect_bits(kName, bits, x.numel());
    if (!dresidual.defined() && x.numel() > 0)
      throw ShapeError("batch_norm_grad_sums: dresidual is missing, expected with a mask from bits");
  }
  detail::expect_per_channel(kName, "stats", stats, {4, x.shape.cols()});
  detail::expect_per_channel(kName, "sums", sums, {2, x.shape.cols()});
  if (dresidual.defined()) detail::expect_like(kName, "dresidual", dresidual, x);
}
inline void BatchNormGradInput::check() const {
  detail::expect_channels(kName, x);
  detail::expect_like(kName, "dy", dy, x);
  if (mask == BatchNormMask::kFromBits)
    throw ShapeError("batch_norm_grad_input: a mask from bits, expected the masked gradient that the sums stored");
  detail::expect_per_channel(kName, "stats", stats, {4, x.shape.cols()});
  detail::expect_per_channel(kName, "gamma", gamma, {x.shape.cols()});
  detail::expect_per_channel(kName, "sums", sums, {2, x.shape.cols()});
  detail::expect_like(kName, "dx", dx, x);
}
inline void BatchNormGradParams::check() const {
  expect_rank(kName, "dgamma", dgamma.shape, 1);
  detail::expect_per_channel(kName, "dgamma", dgamma, dgamma.shape);
  detail::expect_per_channel(kName, "dbeta", dbeta, dgamma.shape);
  detail::expect_per_channel(kName, "sums", sums, {2, dgamma.dim(0)});
  detail::expect_per_channel(kName, "stats", stats, {4, dgamma.dim(0)});
}

}  // namespace sluice::kernels
