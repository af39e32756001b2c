// finite &= every loss is a finite number, or every other flag is set. Updates read the flag on the device and skip
// themselves where it is 0.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/hd.h"

namespace sluice::kernels {

/// Whether the bits are an infinity or a NaN, whatever the compiler assumes of floats; of a flag, whether it is 0.
SLUICE_HD bool tells_non_finite(uint32_t bits, bool is_flag) {
  constexpr uint32_t kExponent = 0x7f800000u;  // all ones: infinity or NaN
  return is_flag ? bits == 0 : (bits & kExponent) == kExponent;
}

/// The flag starts as 1 (FillConstant) and is read and written: several micro-batches of a step may clear it.
struct FlagNonFinite {
  static constexpr const char* kName = "flag_non_finite";
  ConstRef losses;  // [n] f32; or i32: the flags of replicas
  Ref finite;       // [1] i32

  void check() const {
    if (!are_flags()) expect_dtype(kName, "losses", losses.dtype, DType::kF32);
    expect_rank(kName, "losses", losses.shape, 1);
    expect_dtype(kName, "finite", finite.dtype, DType::kI32);
    expect_shape(kName, "finite", finite.shape, {1});
  }
  bool are_flags() const { return losses.dtype == DType::kI32; }
  Operands operands() const { return {{losses}, {finite}}; }
  Cost cost() const { return operands().once(losses.numel()); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
