// y = residual + (x / (1 - p) where the draw of the element is at least p, else 0). y may be x or residual. Backward is
// the same call on dy without a residual; a residual's gradient is dy itself.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/philox.h"

namespace sluice::kernels {

/// Where the draw of element e of a sample's step comes from: word `word` of Philox at counter (low, sample). Sixteen
/// neighbours take the same word of sixteen counters, so that both vector registers and warps draw without shuffles.
struct DropoutDraw {
  uint64_t low;
  int word;
};
SLUICE_HD DropoutDraw dropout_draw(int64_t e, int64_t step) {
  return {uint64_t(step) << 40 | uint64_t(e / 64 * 16 + e % 16), int(e / 16 % 4)};
}

/// The draw depends on key, global sample, step and element alone: not on the batch, the length of a time-major
/// sequence, the team or the device.
struct Dropout {
  static constexpr const char* kName = "dropout";
  ConstRef x;           // [samples, ...], or with axis 1 [steps, samples, ...]; f32 or bf16
  ConstRef residual{};  // as x; undefined: none
  Ref y;                // as x
  float p = 0;
  PhiloxKey key;
  int64_t sample_base = 0;  // global index of the first sample
  int axis = 0;             // of the samples: 0 or 1

  int64_t samples() const { return x.dim(axis); }
  /// Steps of all samples: what draws by itself.
  int64_t rows() const { return axis == 0 ? x.dim(0) : x.dim(0) * x.dim(1); }
  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
    if (residual.defined()) {
      expect_dtype(kName, "residual", residual.dtype, x.dtype);
      expect_shape(kName, "residual", residual.shape, x.shape);
    }
    if (axis < 0 || axis > 1 || x.shape.rank() <= axis)
      throw ShapeError(str("dropout: x has shape ", x.shape.text(), ", expected samples along axis ", axis));
    if (!(p >= 0.0f && p < 1.0f)) throw ConfigError(str("dropout: p is ", p, ", expected 0 <= p < 1"));
  }
  Operands operands() const { return {{x, residual}, {y}}; }
  Cost cost() const { return operands().once(x.numel() * (residual.defined() ? 26 : 25)); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
