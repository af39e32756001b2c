// Activations in 8 bits for the backward pass: groups of 256 neighbours, each with its own range, as compressed
// training keeps them (Chen, Zheng, Yao et al., ActNN, ICML 2021; here with rounding to nearest). What auxiliary
// activations are measured against.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

inline constexpr int64_t kQuantGroup = 256;
constexpr int64_t quant_groups(int64_t n) { return (n + kQuantGroup - 1) / kQuantGroup; }

namespace detail {
inline void expect_quantized(const char* op, const ConstRef& q, const ConstRef& ranges, int64_t n) {
  expect_dtype(op, "q", q.dtype, DType::kU8);
  expect_shape(op, "q", q.shape, {n});
  expect_dtype(op, "ranges", ranges.dtype, DType::kF32);
  expect_shape(op, "ranges", ranges.shape, {quant_groups(n), 2});
}
}  // namespace detail

/// The number in steps above `low`, rounded; per = 1 / step, or 0 where all numbers are equal.
SLUICE_HD float quantum(float x, float low, float per) {
  const float v = (x - low) * per + 0.5f;
  return v < 255.0f ? v : 255.0f;
}

/// q = round((x - low) / step), with low the least of a group and step a 255th of its range; ranges = (low, step).
struct Quantize {
  static constexpr const char* kName = "quantize";
  ConstRef x;  // any shape; f32 or bf16; finite
  Ref q;       // [x.numel()] u8
  Ref ranges;  // [quant_groups(x.numel()), 2] f32

  void check() const {
    expect_float(kName, "x", x.dtype);
    detail::expect_quantized(kName, q, ranges, x.numel());
  }
  Operands operands() const { return {{x}, {q, ranges}}; }
  Cost cost() const { return operands().once(4 * x.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// y = low + q step.
struct Dequantize {
  static constexpr const char* kName = "dequantize";
  ConstRef q;       // [y.numel()] u8
  ConstRef ranges;  // [quant_groups(y.numel()), 2] f32
  Ref y;            // any shape; f32 or bf16

  void check() const {
    expect_float(kName, "y", y.dtype);
    detail::expect_quantized(kName, q, ranges, y.numel());
  }
  Operands operands() const { return {{q, ranges}, {y}}; }
  Cost cost() const { return operands().once(2 * y.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
