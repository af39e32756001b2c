// What clipping gradients by their global norm needs: sums of squares, then the factor that shortens them.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// sum = sum of x^2, in an order that does not depend on the team.
struct SumSquares {
  static constexpr const char* kName = "sum_squares";
  ConstRef x;  // any shape; f32
  Ref sum;     // [1] f32

  void check() const {
    expect_dtype(kName, "x", x.dtype, DType::kF32);
    expect_dtype(kName, "sum", sum.dtype, DType::kF32);
    expect_shape(kName, "sum", sum.shape, {1});
  }
  Operands operands() const { return {{x}, {sum}}; }
  Cost cost() const { return operands().once(x.numel() * 2); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// factor = min(1, most / (sqrt(sum of squares) + 1e-6)), as torch.nn.utils.clip_grad_norm_; NaN where a square is.
struct ClipFactor {
  static constexpr const char* kName = "clip_factor";
  ConstRef squares;  // [n] f32
  Ref factor;        // [1] f32
  float most = 1.0f;

  void check() const {
    expect_dtype(kName, "squares", squares.dtype, DType::kF32);
    expect_rank(kName, "squares", squares.shape, 1);
    expect_dtype(kName, "factor", factor.dtype, DType::kF32);
    expect_shape(kName, "factor", factor.shape, {1});
  }
  Operands operands() const { return {{squares}, {factor}}; }
  Cost cost() const { return operands().once(squares.numel() + 4); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

namespace detail {
// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// The factor for a norm. One text for both devices.
SLUICE_HD float clip_factor(float norm, float most) {
  const float factor = most / (norm + 1e-6f);
  return factor >= 1.0f ? 1.0f : factor;  // a NaN stays
}

}  // namespace SLUICE_ISA or host
}  // namespace detail

}  // namespace sluice::kernels
