// Writes the scalars of an optimiser step to their device slot. The values travel with the call: the host never waits.
#pragma once

#include "kernels/common/context.h"
#include "kernels/common/step_scalars.h"

namespace sluice::kernels {

/// Streams run in order, so one slot per arena is enough: the previous step's readers are done when this runs.
struct SetStepScalars {
  static constexpr const char* kName = "set_step_scalars";
  Ref slot;  // kStepScalarsShape, u8
  StepScalars values;
  ConstRef finite{};  // [1] i32: 0 makes the step's forecasts the weights themselves; may be undefined

  void check() const {
    expect_step_scalars(kName, slot);
    if (finite.defined()) {
      expect_dtype(kName, "finite", finite.dtype, DType::kI32);
      expect_shape(kName, "finite", finite.shape, {1});
    }
  }
  /// What the slot holds. One text for both devices.
  SLUICE_HD static StepScalars held(StepScalars s, const int32_t* finite) {
    if (finite != nullptr && *finite == 0)
      for (ForecastScalars& f : s.forecasts)
        for (float& reach : f.reach) reach = 0.0f;
    return s;
  }
  Operands operands() const { return {{finite}, {slot}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
