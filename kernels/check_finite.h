// finite &= every loss is a finite number. Updates read the flag on the device and skip themselves where it is 0.
#pragma once

#include "kernels/common/context.h"

namespace sluice::kernels {

/// The flag starts as 1 (FillConstant) and is read and written: several micro-batches of a step may clear it.
struct FlagNonFinite {
  static constexpr const char* kName = "flag_non_finite";
  ConstRef losses;  // [n] f32
  Ref finite;       // [1] i32

  void check() const {
    expect_dtype(kName, "losses", losses.dtype, DType::kF32);
    expect_rank(kName, "losses", losses.shape, 1);
    expect_dtype(kName, "finite", finite.dtype, DType::kI32);
    expect_shape(kName, "finite", finite.shape, {1});
  }
  Operands operands() const { return {{losses}, {finite}}; }
  Cost cost() const { return operands().once(losses.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
