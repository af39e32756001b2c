// y = scale x + P, the sinusoids of Vaswani et al. (2017), section 3.5: P[t, 2 i] = sin(t / 10000^(2 i / D)), P[t, 2 i
// + 1] the cosine. y may be x.
#pragma once

#include <cmath>

#include "kernels/common/context.h"

namespace sluice::kernels {

/// P[t, j] of D columns.
SLUICE_HD float sinusoid(int64_t t, int64_t j, int64_t cols) {
  const double angle = double(t) * exp(-9.210340371976184 * double(j - j % 2) / double(cols));  // ln 10000
  return float(j % 2 == 0 ? sin(angle) : cos(angle));
}

struct PositionalEncoding {
  static constexpr const char* kName = "positional_encoding";
  ConstRef x;  // [B, T, D]; f32 or bf16
  Ref y;       // as x
  float scale = 1.0f;
  bool positions = true;  // false: y = scale x, which the gradient is

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_rank(kName, "x", x.shape, 3);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(2 * x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
