// Additive attention over a sequence (Bahdanau, Cho and Bengio 2015) with a normalised vector, as in GNMT (Wu et al.
// 2016): for each query the softmax over the keys of v' . tanh(q + k + b), v' = scale v / |v|, and the mean of the
// memory by it; and its gradient. No query x key x hidden tensor is made: the gradient computes the tanh again.
// Sequences are time-major. No operands may overlap.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/math.h"

namespace sluice::kernels {

/// Sizes, and where rows lie: row (t, b) of a sequence [T, B, n] is row t B + b of n.
struct BahdanauLayout {
  int64_t queries, keys, samples;  // Q, S, B
  int64_t hidden, width;           // H of queries and keys, M of the memory

  BahdanauLayout(const ConstRef& q, const ConstRef& memory)
      : queries(q.dim(0)), keys(memory.dim(0)), samples(q.dim(1)), hidden(q.dim(2)), width(memory.dim(2)) {}
  SLUICE_HD int64_t row(int64_t t, int64_t sample) const { return t * samples + sample; }
  int64_t scores() const { return queries * keys * samples; }
};

/// A masked key has a weight of 0 and is not read. Where a sample has no other keys, all are weighed alike and the
/// scores have no gradient.
struct Bahdanau {
  static constexpr const char* kName = "bahdanau";
  ConstRef q;            // [Q, B, H]; f32 or bf16
  ConstRef k;            // [S, B, H], as q
  ConstRef memory;       // [S, B, M], as q
  ConstRef mask{};       // [S, B] u8, not 0: may be attended to; undefined: all may
  ConstRef v, scale, b;  // [H], [1], [H] f32
  Ref y;                 // [Q, B, M], as q
  Ref weights;           // [Q, B, S] f32

  void check() const;
  Operands operands() const { return {{q, k, memory, mask, v, scale, b}, {y, weights}}; }
  Cost cost() const;
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// sums = the gradients of v' and of b.
struct BahdanauGrad {
  static constexpr const char* kName = "bahdanau_grad";
  ConstRef q, k, memory;  // as above
  ConstRef mask{};        // as above
  ConstRef v, scale, b;   // the version that the backward pass uses
  ConstRef weights;       // what forward wrote
  ConstRef dy;            // [Q, B, M], as q
  Ref dq, dk, dmemory;    // as q, k and memory
  Ref sums;               // [2, H] f32

  void check() const;
  Operands operands() const { return {{q, k, memory, mask, v, scale, b, weights, dy}, {dq, dk, dmemory, sums}}; }
  Cost cost() const;
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// db (+)= sums[1]; through v' = scale v / |v|, dscale (+)= sums[0] . v / |v| and dv (+)= the rest.
struct BahdanauGradParams {
  static constexpr const char* kName = "bahdanau_grad_params";
  ConstRef sums;      // [2, H] f32
  ConstRef v, scale;  // [H], [1] f32: as in BahdanauGrad
  Ref dv, dscale, db;
  bool accumulate_v = false, accumulate_scale = false, accumulate_b = false;

  void check() const;
  Operands operands() const { return {{sums, v, scale}, {dv, dscale, db}}; }
  Cost cost() const {
    Cost c = operands().once(8 * v.numel());
    c.read +=
        (accumulate_v ? dv.bytes() : 0) + (accumulate_scale ? dscale.bytes() : 0) + (accumulate_b ? db.bytes() : 0);
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- one element, the same on every device ----

#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif
/// t = tanh(q + k + b).
SLUICE_HD float bahdanau_tanh(float q, float k, float b) { return math::tanh(q + k + b); }
/// What a score's gradient leaves for q and k, but for the factor v'.
SLUICE_HD float bahdanau_slope(float dscore, float t) { return dscore * (1.0f - t * t); }
/// An element of v's gradient: that of v' without its part along v, since v' has a length of its own. dot = dv' . v.
SLUICE_HD float bahdanau_dv(float dv_scaled, float v, float dot, float inverse_length, float scale) {
  return scale * inverse_length * (dv_scaled - v * inverse_length * (dot * inverse_length));
}
}  // namespace SLUICE_ISA or host

// ---- checks and costs ----

namespace detail {
inline void expect_bahdanau_part(const char* op, const char* what, const ConstRef& r, DType t, const Shape& shape) {
  expect_dtype(op, what, r.dtype, t);
  expect_shape(op, what, r.shape, shape);
}
/// What both directions read.
template <class Call>
void expect_bahdanau(const Call& c) {
  const char* const op = Call::kName;
  expect_float(op, "q", c.q.dtype);
  expect_rank(op, "q", c.q.shape, 3);
  expect_dtype(op, "memory", c.memory.dtype, c.q.dtype);
  expect_rank(op, "memory", c.memory.shape, 3);
  const BahdanauLayout at(c.q, c.memory);
  if (at.keys == 0) throw ShapeError(str(op, ": no keys, expected at least one"));
  expect_shape(op, "memory", c.memory.shape, {at.keys, at.samples, at.width});
  expect_bahdanau_part(op, "k", c.k, c.q.dtype, {at.keys, at.samples, at.hidden});
  if (c.mask.defined()) expect_bahdanau_part(op, "mask", c.mask, DType::kU8, {at.keys, at.samples});
  expect_bahdanau_part(op, "v", c.v, DType::kF32, {at.hidden});
  expect_bahdanau_part(op, "scale", c.scale, DType::kF32, {1});
  expect_bahdanau_part(op, "b", c.b, DType::kF32, {at.hidden});
  expect_bahdanau_part(op, "weights", c.weights, DType::kF32, {at.queries, at.samples, at.keys});
}
}  // namespace detail

inline void Bahdanau::check() const {
  detail::expect_bahdanau(*this);
  const BahdanauLayout at(q, memory);
  detail::expect_bahdanau_part(kName, "y", y, q.dtype, {at.queries, at.samples, at.width});
}
inline void BahdanauGrad::check() const {
  detail::expect_bahdanau(*this);
  const BahdanauLayout at(q, memory);
  detail::expect_bahdanau_part(kName, "dy", dy, q.dtype, {at.queries, at.samples, at.width});
  detail::expect_bahdanau_part(kName, "dq", dq, q.dtype, q.shape);
  detail::expect_bahdanau_part(kName, "dk", dk, q.dtype, k.shape);
  detail::expect_bahdanau_part(kName, "dmemory", dmemory, q.dtype, memory.shape);
  detail::expect_bahdanau_part(kName, "sums", sums, DType::kF32, {2, at.hidden});
}
inline void BahdanauGradParams::check() const {
  expect_rank(kName, "v", v.shape, 1);
  detail::expect_bahdanau_part(kName, "v", v, DType::kF32, v.shape);
  detail::expect_bahdanau_part(kName, "scale", scale, DType::kF32, {1});
  detail::expect_bahdanau_part(kName, "sums", sums, DType::kF32, {2, v.dim(0)});
  detail::expect_bahdanau_part(kName, "dv", dv, DType::kF32, v.shape);
  detail::expect_bahdanau_part(kName, "dscale", dscale, DType::kF32, {1});
  detail::expect_bahdanau_part(kName, "db", db, DType::kF32, v.shape);
}
/// A tanh counts as 20 operations.
inline Cost Bahdanau::cost() const {
  const BahdanauLayout at(q, memory);
  return operands().once(at.scores() * (24 * at.hidden + 2 * at.width));
}
inline Cost BahdanauGrad::cost() const {
  const BahdanauLayout at(q, memory);
  return operands().once(at.scores() * (30 * at.hidden + 4 * at.width));
}

}  // namespace sluice::kernels
