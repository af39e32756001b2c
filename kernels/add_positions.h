// Positions added to the tokens of each sample, behind a learned one where there is one, and the gradient of both:
// y[b] = [token; x[b]] + positions. No operands may overlap.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct AddPositions {
  static constexpr const char* kName = "add_positions";
  ConstRef x;          // [B, P, D]; f32 or bf16
  ConstRef token{};    // [D] f32; undefined: none, T = P; else T = P + 1
  ConstRef positions;  // [T, D] f32
  Ref y;               // [B, T, D]; as x

  void check() const;
  Operands operands() const { return {{x, token, positions}, {y}}; }
  Cost cost() const { return operands().once(y.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dpositions (+)= the sum of dy over samples, dtoken (+)= its first row: complete sums, which are then added. (dx is
/// the rows of dy that x gave.)
struct AddPositionsGrad {
  static constexpr const char* kName = "add_positions_grad";
  ConstRef dy;                        // [B, T, D]; f32 or bf16
  Ref dpositions;                     // [T, D] f32
  Ref dtoken{};                       // [D] f32; or undefined
  bool accumulate_positions = false;  // add to what is there
  bool accumulate_token = false;

  void check() const;
  Operands operands() const { return {{dy}, {dpositions, dtoken}}; }
  Cost cost() const {
    Cost c = operands().once(dy.numel());
    c.read += (accumulate_positions ? dpositions.bytes() : 0) + (accumulate_token ? dtoken.bytes() : 0);
    return c;
  }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

// ---- checks ----

namespace detail {
inline void expect_positions(const char* op, const ConstRef& y, const ConstRef& positions, const ConstRef& token) {
  expect_float(op, "y", y.dtype);
  expect_rank(op, "y", y.shape, 3);
  expect_dtype(op, "positions", positions.dtype, DType::kF32);
  expect_shape(op, "positions", positions.shape, {y.dim(1), y.dim(2)});
  if (!token.defined()) return;
  expect_dtype(op, "token", token.dtype, DType::kF32);
  expect_shape(op, "token", token.shape, {y.dim(2)});
  if (y.dim(1) < 1) throw ShapeError(str(op, ": no positions, expected one for the token"));
}
}  // namespace detail

inline void AddPositions::check() const {
  detail::expect_positions(kName, y, positions, token);
  expect_dtype(kName, "x", x.dtype, y.dtype);
  expect_shape(kName, "x", x.shape, {y.dim(0), y.dim(1) - (token.defined() ? 1 : 0), y.dim(2)});
}
inline void AddPositionsGrad::check() const { detail::expect_positions(kName, dy, dpositions, dtoken); }

}  // namespace sluice::kernels
