// y = x - log sum exp(x) over the last dimension, and its gradient. y may be x; dx may be dy.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// Safe for any finite x (log-sum-exp about the row's maximum).
struct LogSoftmax {
  static constexpr const char* kName = "log_softmax";
  ConstRef x;  // [..., K]; f32 or bf16
  Ref y;       // as x

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, x.shape);
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(x.numel() * 20); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// dx = dy - e^y sum(dy).
struct LogSoftmaxGrad {
  static constexpr const char* kName = "log_softmax_grad";
  ConstRef y;   // [..., K], of forward; f32 or bf16
  ConstRef dy;  // as y
  Ref dx;       // as y

  void check() const {
    expect_float(kName, "dy", dy.dtype);
    expect_dtype(kName, "y", y.dtype, dy.dtype);
    expect_shape(kName, "y", y.shape, dy.shape);
    expect_dtype(kName, "dx", dx.dtype, dy.dtype);
    expect_shape(kName, "dx", dx.shape, dy.shape);
  }
  Operands operands() const { return {{y, dy}, {dx}}; }
  Cost cost() const { return operands().once(dy.numel() * 20); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
