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

/// What both directions are told.
struct AttentionSettings {
  int heads = 1;
  float p = 0;  // of dropout on the probabilities
  PhiloxKey key;
  int64_t sample_base = 0;  // global index of the first sample
  float scale = 0;          // of the scores; 0: 1 / sqrt(d_k)
  bool causal = false;      // query t sees the keys 0 .. t; one sequence, without a mask: padding behind it is not seen
};

/// Where Q, K and V lie. Of one sequence, qkv [B, T, 3 d], all three side by side; of two, Q in qkv [B, T, d] and K and
/// V in kv [B, S, 2 d]. Head h has columns [h d_k, (h + 1) d_k) of each; d = heads d_k.
struct AttentionLayout {
  int64_t samples, queries, keys;    // B, T, S
  int64_t width, head_cols;          // d, d_k
  int64_t q_row, kv_row;             // distances of rows
  int64_t key_column, value_column;  // where K and V begin in a row
  float scale;                       // of the scores, as it is meant
  bool causal;

  AttentionLayout(const ConstRef& qkv, const ConstRef& kv, const AttentionSettings& s)
      : samples(qkv.dim(0)),
        queries(qkv.dim(1)),
        keys(kv.defined() ? kv.dim(1) : queries),
        width(kv.defined() ? qkv.dim(2) : qkv.dim(2) / 3),
        head_cols(width / s.heads),
        q_row(qkv.dim(2)),
        kv_row(kv.defined() ? kv.dim(2) : q_row),
        key_column(kv.defined() ? 0 : width),
        value_column(key_column + width),
        scale(s.scale > 0.0f ? s.scale : 1.0f / std::sqrt(float(head_cols))),
        causal(s.causal) {}
  /// Scores of all heads that are computed, times d_k.
  int64_t products() const { return samples * width * (causal ? queries * (queries + 1) / 2 : queries * keys); }
};

inline constexpr int64_t kMostHeadColumns = 128;           // d_k at most
inline constexpr int64_t kMostQueries = int64_t{1} << 20;  // T and S below: the counter's fields

/// Scores of masked keys count as -1e9: their probability is 0, but where a sample has no other keys all S keys are
/// equally likely. That is computed as softmax of 0 over all keys, so nothing is ever NaN for finite inputs.
struct Attention {
  static constexpr const char* kName = "attention";
  ConstRef qkv;     // [B, T, 3 d], or with kv [B, T, d]; f32 or bf16
  ConstRef kv{};    // [B, S, 2 d], as qkv; undefined: qkv has them, S = T
  ConstRef mask{};  // [B, S] u8, not 0: may be attended to; undefined: all may
  Ref y;            // [B, T, d], as qkv
  Ref lse{};        // [B, heads, T] f32, log of the sum of e^score; undefined: not wanted
  AttentionSettings settings;

  void check() const;
  Operands operands() const { return {{qkv, kv, mask}, {y, lse}}; }
  Cost cost() const { return operands().once(4 * AttentionLayout(qkv, kv, settings).products()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct AttentionGrad {
  static constexpr const char* kName = "attention_grad";
  ConstRef qkv;     // as above
  ConstRef kv{};    // as above
  ConstRef mask{};  // as above
  ConstRef y, lse;  // what forward wrote
  ConstRef dy;      // as y
  Ref dqkv;         // as qkv
  Ref dkv{};        // as kv
  AttentionSettings settings;

  void check() const;
  Operands operands() const { return {{qkv, kv, mask, y, lse, dy}, {dqkv, dkv}}; }
  Cost cost() const { return operands().once(10 * AttentionLayout(qkv, kv, settings).products()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_attention_settings(const char* op, const AttentionSettings& s, bool masked, bool one_sequence) {
  if (!(s.p >= 0.0f && s.p < 1.0f)) throw ConfigError(str(op, ": p is ", s.p, ", expected 0 <= p < 1"));
  if (!(s.scale >= 0.0f && std::isfinite(s.scale)))
    throw ConfigError(str(op, ": scale is ", s.scale, ", expected a positive number, or 0 for 1 / sqrt(d_k)"));
  if (s.causal && (masked || !one_sequence))
    throw ConfigError(str(op, ": causal with ", masked ? "a mask" : "keys of another sequence", ", expected neither"));
}
inline void expect_attention(const char* op, const ConstRef& qkv, const ConstRef& kv, const ConstRef& mask,
                             const AttentionSettings& s) {
  expect_float(op, "qkv", qkv.dtype);
  expect_rank(op, "qkv", qkv.shape, 3);
  const int64_t parts = kv.defined() ? 1 : 3;
  if (s.heads < 1 || qkv.dim(2) == 0 || qkv.dim(2) % (parts * int64_t(s.heads)) != 0)
    throw ShapeError(
        str(op, ": qkv has shape ", qkv.shape.text(), ", expected [B, T, ", parts, " x ", s.heads, " heads x d_k]"));
  const int64_t width = qkv.dim(2) / parts;
  if (kv.defined()) {
    expect_dtype(op, "kv", kv.dtype, qkv.dtype);
    expect_rank(op, "kv", kv.shape, 3);
    expect_shape(op, "kv", kv.shape, {qkv.dim(0), kv.dim(1), 2 * width});
    if ((kv.dim(1) == 0) != (qkv.dim(1) == 0))
      throw ShapeError(str(op, ": ", qkv.dim(1), " queries and ", kv.dim(1), " keys, expected some of both"));
  }
  const int64_t keys = kv.defined() ? kv.dim(1) : qkv.dim(1);
  if (width / s.heads > kMostHeadColumns)
    throw ShapeError(str(op, ": d_k is ", width / s.heads, ", expected at most ", kMostHeadColumns));
  if (qkv.dim(1) >= kMostQueries || keys >= kMostQueries)
    throw ShapeError(str(op, ": T is ", qkv.dim(1), " and S ", keys, ", expected both below ", kMostQueries));
  if (mask.defined()) {
    expect_dtype(op, "mask", mask.dtype, DType::kU8);
    expect_shape(op, "mask", mask.shape, {qkv.dim(0), keys});
  }
  expect_attention_settings(op, s, mask.defined(), !kv.defined());
}
inline void expect_attended(const char* op, const char* what, const ConstRef& r, const ConstRef& qkv,
                            const AttentionLayout& at) {
  expect_dtype(op, what, r.dtype, qkv.dtype);
  expect_shape(op, what, r.shape, {at.samples, at.queries, at.width});
}
inline void expect_lse(const char* op, const ConstRef& lse, const AttentionLayout& at) {
  expect_dtype(op, "lse", lse.dtype, DType::kF32);
  expect_shape(op, "lse", lse.shape, {at.samples, at.width / at.head_cols, at.queries});
}
}  // namespace detail

inline void Attention::check() const {
  detail::expect_attention(kName, qkv, kv, mask, settings);
  const AttentionLayout at(qkv, kv, settings);
  detail::expect_attended(kName, "y", y, qkv, at);
  if (lse.defined()) detail::expect_lse(kName, lse, at);
}
inline void AttentionGrad::check() const {
  detail::expect_attention(kName, qkv, kv, mask, settings);
  const AttentionLayout at(qkv, kv, settings);
  detail::expect_attended(kName, "y", y, qkv, at);
  detail::expect_attended(kName, "dy", dy, qkv, at);
  detail::expect_lse(kName, lse, at);
  expect_dtype(kName, "dqkv", dqkv.dtype, qkv.dtype);
  expect_shape(kName, "dqkv", dqkv.shape, qkv.shape);
  if (kv.defined() != dkv.defined()) throw ShapeError(str(kName, ": one of kv and dkv, expected both or none"));
  if (!kv.defined()) return;
  expect_dtype(kName, "dkv", dkv.dtype, qkv.dtype);
  expect_shape(kName, "dkv", dkv.shape, kv.shape);
}

}  // namespace sluice::kernels
