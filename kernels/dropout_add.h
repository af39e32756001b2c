// y = residual + (x / (1 - p) where the draw of the element is at least p, else 0). y may be x or residual. Backward is
// Dropout on dy for x; the residual's gradient is dy itself.
#pragma once

#include "kernels/dropout.h"

namespace sluice::kernels {

/// The draws are those of Dropout with the same key: they depend on key, global sample and element alone.
struct DropoutAdd {
  static constexpr const char* kName = "dropout_add";
  ConstRef x;         // [samples, ...]; f32 or bf16
  ConstRef residual;  // as x
  Ref y;              // as x
  float p = 0;
  PhiloxKey key;
  int64_t sample_base = 0;  // global index of the first sample

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "residual", residual.dtype, x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "residual", residual.shape, x.shape);
    expect_shape(kName, "y", y.shape, x.shape);
    if (x.shape.rank() == 0) throw ShapeError("dropout_add: x is a scalar, expected [samples, ...]");
    if (!(p >= 0.0f && p < 1.0f)) throw ConfigError(str("dropout_add: p is ", p, ", expected 0 <= p < 1"));
  }
  Operands operands() const { return {{x, residual}, {y}}; }
  Cost cost() const { return operands().once(x.numel() * 26); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
