// y[j, i] = x[i, j], rows of a sequence that changes between batch-major and time-major. Its gradient is itself. y may
// not be x.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

struct SwapAxes {
  static constexpr const char* kName = "swap_axes";
  ConstRef x;  // [M, N, D]; f32 or bf16
  Ref y;       // [N, M, D], as x

  void check() const {
    expect_float(kName, "x", x.dtype);
    expect_rank(kName, "x", x.shape, 3);
    expect_dtype(kName, "y", y.dtype, x.dtype);
    expect_shape(kName, "y", y.shape, {x.dim(1), x.dim(0), x.dim(2)});
  }
  Operands operands() const { return {{x}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
