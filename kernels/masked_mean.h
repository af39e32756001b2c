// Mean over the time of a sequence, padding left out: y[b] = sum_t m[b, t] x[b, t] / max(1, sum_t m[b, t]), and its
// gradient. A sequence without any token gives a zero row and a zero gradient.
#pragma once

#include <algorithm>

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Where the row of sample b at time t lies among the rows of x [B, T, D] (axis 1) or [T, B, D] (axis 0).
struct SequenceRows {
  int64_t batch, time, cols, batch_step, time_step;  // steps in rows

  SequenceRows(const Shape& x, int axis)
      : batch(x[1 - axis]),
        time(x[axis]),
        cols(x[2]),
        batch_step(axis == 1 ? time : 1),
        time_step(axis == 1 ? 1 : batch) {}
};

/// Elements of x that the mask leaves out are not read: NaN there does no harm.
struct MaskedMean {
  static constexpr const char* kName = "masked_mean";
  ConstRef x;       // [B, T, D], or [T, B, D] with axis 0; f32 or bf16
  ConstRef mask{};  // the first two dimensions of x, u8: 0 leaves out; undefined: every position counts
  Ref y;            // [B, D]; as x
  Ref share;        // [B] f32: 1 / max(1, tokens), for the gradient
  int axis = 1;     // of time: 0 or 1

  void check() const;
  Operands operands() const { return {{x, mask}, {y, share}}; }
  Cost cost() const { return operands().once(x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx[b, t] = m[b, t] share[b] dy[b].
struct MaskedMeanGrad {
  static constexpr const char* kName = "masked_mean_grad";
  ConstRef dy;      // [B, D]; f32 or bf16
  ConstRef mask{};  // as forward
  ConstRef share;   // [B] f32, of forward
  Ref dx;           // x of forward; as dy
  int axis = 1;

  void check() const;
  Operands operands() const { return {{dy, mask, share}, {dx}}; }
  Cost cost() const { return operands().once(dx.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_sequence(const char* op, const ConstRef& x, const ConstRef& mask, int axis) {
  expect_float(op, "x", x.dtype);
  expect_rank(op, "x", x.shape, 3);
  if (axis != 0 && axis != 1) throw ShapeError(str(op, ": axis is ", axis, ", expected 0 or 1"));
  if (!mask.defined()) return;
  expect_dtype(op, "mask", mask.dtype, DType::kU8);
  expect_shape(op, "mask", mask.shape, {x.dim(0), x.dim(1)});
}
inline void expect_mean_of(const char* op, const char* what, const ConstRef& y, const ConstRef& share,
                           const ConstRef& x, int axis) {
  expect_dtype(op, what, y.dtype, x.dtype);
  expect_shape(op, what, y.shape, {x.dim(1 - axis), x.dim(2)});
  expect_dtype(op, "share", share.dtype, DType::kF32);
  expect_shape(op, "share", share.shape, {x.dim(1 - axis)});
}
}  // namespace detail

inline void MaskedMean::check() const {
  detail::expect_sequence(kName, x, mask, axis);
  detail::expect_mean_of(kName, "y", y, share, x, axis);
}
inline void MaskedMeanGrad::check() const {
  detail::expect_sequence(kName, dx, mask, axis);
  detail::expect_mean_of(kName, "dy", dy, share, dx, axis);
}

}  // namespace sluice::kernels
