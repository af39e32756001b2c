// Some neighbouring tokens of each sample, y[b, i] = x[b, first + i], and the gradient, which is 0 at the others. No
// operands may overlap.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct SliceTokens {
  static constexpr const char* kName = "slice_tokens";
  ConstRef x;         // [B, T, D]; f32 or bf16
  Ref y;              // [B, n, D]; as x
  int64_t first = 0;  // token; first + n is at most T

  void check() const;
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return {y.bytes(), y.bytes(), 0}; }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

struct SliceTokensGrad {
  static constexpr const char* kName = "slice_tokens_grad";
  ConstRef dy;  // [B, n, D]; f32 or bf16
  Ref dx;       // [B, T, D]; as dy
  int64_t first = 0;

  void check() const;
  Operands operands() const { return {{dy}, {dx}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_slice(const char* op, const ConstRef& whole, const ConstRef& part, int64_t first) {
  expect_float(op, "x", whole.dtype);
  expect_rank(op, "x", whole.shape, 3);
  expect_dtype(op, "y", part.dtype, whole.dtype);
  expect_rank(op, "y", part.shape, 3);
  expect_shape(op, "y", part.shape, {whole.dim(0), part.dim(1), whole.dim(2)});
  if (first < 0 || part.dim(1) > whole.dim(1) - first)
    throw ShapeError(str(op, ": ", part.dim(1), " tokens from ", first, " on, where there are ", whole.dim(1)));
}
}  // namespace detail

inline void SliceTokens::check() const { detail::expect_slice(kName, x, y, first); }
inline void SliceTokensGrad::check() const { detail::expect_slice(kName, dx, dy, first); }

}  // namespace sluice::kernels
