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

  void check() const { expect_step_scalars(kName, slot); }
  Operands operands() const { return {{}, {slot}}; }
  Cost cost() const { return operands().once(0); }
  template <Isa>
  void cpu(CpuContext&) const;
  void cuda(CudaContext&) const;
};

}  // namespace sluice::kernels
