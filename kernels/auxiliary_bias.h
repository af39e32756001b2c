// Auxiliary bias activation of a linear layer (Woo and Jeon, ICLR 2023): forward adds a learned vector a to the input,
// backward takes the weight gradient from a alone. Everything is a closed form: forward is another bias, b + W a, and
// backward needs only the column sums of dz. Nothing of the size of the activations is kept, moved or multiplied.
// Layers side by side, as the projections to Q, K and V, have a vector each: `groups` of them, in equal parts of the
// outputs.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

namespace detail {
inline void expect_auxiliary_bias(const char* op, const ConstRef& w, const ConstRef& a) {
  expect_dtype(op, "w", w.dtype, DType::kF32);
  expect_rank(op, "w", w.shape, 2);
  expect_dtype(op, "a", a.dtype, DType::kF32);
  const int64_t groups = a.shape.rank() == 2 ? a.dim(0) : 1;
  if (a.shape.rank() == 1)
    expect_shape(op, "a", a.shape, {w.dim(1)});
  else
    expect_shape(op, "a", a.shape, {groups, w.dim(1)});
  if (groups < 1 || w.dim(0) % groups != 0)
    throw ShapeError(str(op, ": ", w.dim(0), " outputs do not split into ", groups, " groups"));
}
/// Outputs that share a vector.
inline int64_t auxiliary_rows(const ConstRef& w, const ConstRef& a) {
  return a.shape.rank() == 2 ? w.dim(0) / a.dim(0) : w.dim(0);
}
}  // namespace detail

/// y = bias + w a, row by row with the vector of its group.
struct AuxiliaryBias {
  static constexpr const char* kName = "auxiliary_bias";
  ConstRef w;       // [out, in] f32
  ConstRef a;       // [in] or [groups, in] f32
  ConstRef bias{};  // [out] f32; undefined: 0
  Ref y;            // [out] f32

  void check() const {
    detail::expect_auxiliary_bias(kName, w, a);
    expect_dtype(kName, "y", y.dtype, DType::kF32);
    expect_shape(kName, "y", y.shape, {w.dim(0)});
    if (!bias.defined()) return;
    expect_dtype(kName, "bias", bias.dtype, DType::kF32);
    expect_shape(kName, "bias", bias.shape, {w.dim(0)});
  }
  Operands operands() const { return {{w, a, bias}, {y}}; }
  Cost cost() const { return operands().once(2 * w.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// With sums = the column sums of dz: db (+)= sums, dw (+)= scale sums a^T, da (+)= w^T sums.
struct AuxiliaryBiasGrad {
  static constexpr const char* kName = "auxiliary_bias_grad";
  ConstRef dz;  // [rows, out], f32 or bf16
  ConstRef w;   // [out, in] f32
  ConstRef a;   // [in] or [groups, in] f32
  Ref dw;       // [out, in] f32
  Ref db;       // [out] f32; or undefined
  Ref da;       // as a
  float scale = 1.0f;
  bool accumulate_w = false;  // add to what is there
  bool accumulate_b = false;
  bool accumulate_a = false;

  void check() const {
    detail::expect_auxiliary_bias(kName, w, a);
    expect_float(kName, "dz", dz.dtype);
    expect_rank(kName, "dz", dz.shape, 2);
    expect_shape(kName, "dz", dz.shape, {dz.dim(0), w.dim(0)});
    expect_dtype(kName, "dw", dw.dtype, DType::kF32);
    expect_shape(kName, "dw", dw.shape, w.shape);
    expect_dtype(kName, "da", da.dtype, DType::kF32);
    expect_shape(kName, "da", da.shape, a.shape);
    if (!db.defined()) return;
    expect_dtype(kName, "db", db.dtype, DType::kF32);
    expect_shape(kName, "db", db.shape, {w.dim(0)});
  }
  Operands operands() const { return {{dz, w, a}, {dw, db, da}}; }
  Cost cost() const {
    Cost c = operands().once(dz.numel() + 4 * w.numel());
    c.read += (accumulate_w ? dw.bytes() : 0) + (accumulate_b ? db.bytes() : 0) + (accumulate_a ? da.bytes() : 0);
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
