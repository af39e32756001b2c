// The learning indicator of auxiliary activation learning (Woo and Jeon, ICLR 2023), one number a row:
//   sum a (2 h - a) / (sum h^2 + 1e-6)
// of the activation h that a layer multiplies and the auxiliary activation a that its weight gradient sees; about
// 1 - |h - a|^2 / |h|^2: 1 where a is h, above 0 where a is nearer to h than zero is. One pass over x, nothing else of
// its size is made: h is x + a for a vector or for signs, and x, which a is a part of, for a residual activation.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct LearningIndicator {
  static constexpr const char* kName = "learning_indicator";
  ConstRef x;           // [..., channels], f32 or bf16: as many rows as y has numbers
  ConstRef residual{};  // a as x, h = x
  ConstRef vector{};    // [channels] f32: a for each channel, h = x + a; neither: a = epsilon sign(x), h = x + a
  Ref y;                // [rows] f32
  float epsilon = 0.01f;
  float of_zero = -1.0f;  // the sign of 0

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, DType::kF32);
    expect_rank(kName, "y", y.shape, 1);
    if (y.dim(0) > 0 ? x.numel() % y.dim(0) != 0 : x.numel() > 0)
      throw ShapeError(str(kName, ": x ", x.shape.text(), " does not split into ", y.dim(0), " rows"));
    if (residual.defined()) {
      expect_dtype(kName, "residual", residual.dtype, x.dtype);
      expect_shape(kName, "residual", residual.shape, x.shape);
    }
    if (!vector.defined()) return;
    expect_dtype(kName, "vector", vector.dtype, DType::kF32);
    expect_shape(kName, "vector", vector.shape, {x.shape.cols()});
  }
  Operands operands() const { return {{x, residual, vector}, {y}}; }
  Cost cost() const { return operands().once(6 * x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// Both activations of an element.
struct Activations {
  float h, a;
};
SLUICE_HD Activations with_sign(float x, float epsilon, float of_zero) {
  const float a = epsilon * (x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : of_zero);
  return {x + a, a};
}

}  // namespace sluice::kernels
