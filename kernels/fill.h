// y = value, and y = uniform or normal random numbers that depend on the key and the element's index alone.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/philox.h"

namespace sluice::kernels {

struct FillConstant {
  static constexpr const char* kName = "fill_constant";
  Ref y;  // any shape; f32, bf16 or i32
  float value = 0;

  void check() const {
    if (y.dtype != DType::kI32) expect_float(kName, "y", y.dtype);
  }
  Operands operands() const { return {{}, {y}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// Element i is low + (high - low) * uniform(philox(key, i / 4, 0).v[i % 4]): in [low, high] after rounding.
struct FillUniform {
  static constexpr const char* kName = "fill_uniform";
  Ref y;  // any shape; f32 or bf16
  float low = 0, high = 1;
  PhiloxKey key;

  void check() const { expect_float(kName, "y", y.dtype); }
  Operands operands() const { return {{}, {y}}; }
  Cost cost() const { return operands().once(y.numel() * 2); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

/// Element i is mean + deviation * normal_within(cut, key, i / 4).v[i % 4].
struct FillNormal {
  static constexpr const char* kName = "fill_normal";
  Ref y;  // any shape; f32 or bf16
  float mean = 0, deviation = 1;
  float cut = 0;  // deviations that an element lies from the mean at most; 0: any
  PhiloxKey key;

  void check() const {
    expect_float(kName, "y", y.dtype);
    if (cut != 0 && !(cut >= 1)) throw ConfigError(str(kName, ": cut at ", cut, " deviations, expected 1 or more"));
  }
  Operands operands() const { return {{}, {y}}; }
  Cost cost() const { return operands().once(y.numel() * 30); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
