// Multi-head attention, y = dropout(softmax(scale Q K^T)) V for every head, and its gradient. No T x T matrix is
// kept: forward keeps the log-sum-exp of each row, backward recomputes the probabilities (FlashAttention-2, Dao 2023).
// No operands may overlap.
#pragma once

#include <cmath>

#include "kernels/common/context.h"
#include "kernels/common/philox.h"

namespace sluice::kernels {

/// Where the draw of a probability comes from: word `word` of Philox at counter (low, global sample). Four neighbouring
/// keys share a counter and neighbouring queries have neighbouring ones, so that vector registers draw without
/// shuffles. Independent of T, so that padding a document changes nothing.
struct AttentionDraw {
  uint64_t low;
  int word;
};
SLUICE_HD AttentionDraw attention_draw(int64_t head, int64_t query, int64_t key) {
  return {uint64_t(head) << 40 | uint64_t(key / 4) << 20 | uint64_t(query), int(key % 4)};
}

/// What both directions are told. The last dimension of qkv holds Q, K and V of all heads side by side: head h of Q is
/// columns [h d_k, (h + 1) d_k), K and V follow d and 2 d columns behind; d = heads d_k.
struct AttentionSettings {
  int heads = 1;
  float p = 0;  // of dropout on the probabilities
  PhiloxKey key;
  int64_t sample_base = 0;  // global index of the first sample
  float scale = 0;          // of the scores; 0: 1 / sqrt(d_k)
};
inline float attention_scale(const AttentionSettings& s, int64_t head_cols) {
  return s.scale > 0.0f ? s.scale : 1.0f / std::sqrt(float(head_cols));
}

inline constexpr int64_t kMostHeadColumns = 128;           // d_k at most
inline constexpr int64_t kMostQueries = int64_t{1} << 20;  // T below: the counter's fields

/// Scores of masked keys count as -1e9: their probability is 0, but where a sample has no other keys all T keys are
/// equally likely. That is computed as softmax of 0 over all keys, so nothing is ever NaN for finite inputs.
struct Attention {
  static constexpr const char* kName = "attention";
  ConstRef qkv;     // [B, T, 3 d]; f32 or bf16
  ConstRef mask{};  // [B, T] u8, not 0: may be attended to; undefined: all may
  Ref y;            // [B, T, d], as qkv
  Ref lse{};        // [B, heads, T] f32, log of the sum of e^score; undefined: not wanted
  AttentionSettings settings;

  void check() const;
  Operands operands() const { return {{qkv, mask}, {y, lse}}; }
  Cost cost() const { return operands().once(4 * y.numel() * qkv.dim(1)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct AttentionGrad {
  static constexpr const char* kName = "attention_grad";
  ConstRef qkv;     // as above
  ConstRef mask{};  // as above
  ConstRef y, lse;  // what forward wrote
  ConstRef dy;      // as y
  Ref dqkv;         // as qkv
  AttentionSettings settings;

  void check() const;
  Operands operands() const { return {{qkv, mask, y, lse, dy}, {dqkv}}; }
  Cost cost() const { return operands().once(10 * y.numel() * qkv.dim(1)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_attention(const char* op, const ConstRef& qkv, const ConstRef& mask, const AttentionSettings& s) {
  expect_float(op, "qkv", qkv.dtype);
  expect_rank(op, "qkv", qkv.shape, 3);
  if (s.heads < 1 || qkv.dim(2) == 0 || qkv.dim(2) % (3 * int64_t(s.heads)) != 0)
    throw ShapeError(str(op, ": qkv has shape ", qkv.shape.text(), ", expected [B, T, 3 x ", s.heads, " heads x d_k]"));
  if (qkv.dim(2) / (3 * s.heads) > kMostHeadColumns)
    throw ShapeError(str(op, ": d_k is ", qkv.dim(2) / (3 * s.heads), ", expected at most ", kMostHeadColumns));
  if (qkv.dim(1) >= kMostQueries) throw ShapeError(str(op, ": T is ", qkv.dim(1), ", expected below ", kMostQueries));
  if (mask.defined()) {
    expect_dtype(op, "mask", mask.dtype, DType::kU8);
    expect_shape(op, "mask", mask.shape, {qkv.dim(0), qkv.dim(1)});
  }
  if (!(s.p >= 0.0f && s.p < 1.0f)) throw ConfigError(str(op, ": p is ", s.p, ", expected 0 <= p < 1"));
  if (!(s.scale >= 0.0f && std::isfinite(s.scale)))
    throw ConfigError(str(op, ": scale is ", s.scale, ", expected a positive number, or 0 for 1 / sqrt(d_k)"));
}
inline void expect_attended(const char* op, const char* what, const ConstRef& r, const ConstRef& qkv) {
  expect_dtype(op, what, r.dtype, qkv.dtype);
  expect_shape(op, what, r.shape, {qkv.dim(0), qkv.dim(1), qkv.dim(2) / 3});
}
inline void expect_lse(const char* op, const ConstRef& lse, const ConstRef& qkv, const AttentionSettings& s) {
  expect_dtype(op, "lse", lse.dtype, DType::kF32);
  expect_shape(op, "lse", lse.shape, {qkv.dim(0), s.heads, qkv.dim(1)});
}
}  // namespace detail

inline void Attention::check() const {
  detail::expect_attention(kName, qkv, mask, settings);
  detail::expect_attended(kName, "y", y, qkv);
  if (lse.defined()) detail::expect_lse(kName, lse, qkv, settings);
}
inline void AttentionGrad::check() const {
  detail::expect_attention(kName, qkv, mask, settings);
  detail::expect_attended(kName, "y", y, qkv);
  detail::expect_attended(kName, "dy", dy, qkv);
  detail::expect_lse(kName, lse, qkv, settings);
  expect_dtype(kName, "dqkv", dqkv.dtype, qkv.dtype);
  expect_shape(kName, "dqkv", dqkv.shape, qkv.shape);
}

}  // namespace sluice::kernels
