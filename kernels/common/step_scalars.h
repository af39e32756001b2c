// What changes from step to step of an optimiser. Lives on the device, so that setting it never waits for the device.
#pragma once

#include <cstdint>

#include "kernels/common/ref.h"

namespace sluice {

/// Parameter groups that one arena may have.
inline constexpr int kMaxGroups = 8;

/// Forecasts that one update may write.
inline constexpr int kMaxForecasts = 2;

/// Later weights are foretold as keep W - reach D, with D the direction of the last step.
struct ForecastScalars {
  float keep[kMaxGroups] = {};
  float reach[kMaxGroups] = {};  // the rates of the steps ahead, summed; 0: the weights themselves, whatever D is
};

struct StepScalars {
  float lr[kMaxGroups] = {};
  float weight_decay[kMaxGroups] = {};
  float bias1 = 1;       // 1 - beta1^t, t from 1
  float root_bias2 = 1;  // sqrt(1 - beta2^t)
  ForecastScalars forecasts[kMaxForecasts] = {};
};

/// A slot for StepScalars is a u8 tensor of this shape.
inline constexpr Shape kStepScalarsShape{int64_t(sizeof(StepScalars))};

inline void expect_step_scalars(const char* op, const ConstRef& slot) {
  expect_dtype(op, "scalars", slot.dtype, DType::kU8);
  expect_shape(op, "scalars", slot.shape, kStepScalarsShape);
}

}  // namespace sluice
