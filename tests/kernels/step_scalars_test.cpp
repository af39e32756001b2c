// The slot of step scalars holds what the latest call carried.
#include "kernels/step_scalars.h"

#include <gtest/gtest.h>

#include <cstring>

#include "engine/launch.h"
#include "tests/support/support.h"

namespace sluice::step_scalars_test {
namespace {

using test::Guarded;
using StepScalarsTest = test::OnEachDevice;  // one suite name per file

INSTANTIATE_TEST_SUITE_P(Devices, StepScalarsTest, testing::ValuesIn(test::test_devices()), test::device_label);

TEST_P(StepScalarsTest, SetStepScalarsCarriesTheValuesByValue) {
  Stream stream(device());
  Guarded slot(stream, kStepScalarsShape, DType::kU8);
  StepScalars values;
  for (float step = 1; step < 4; ++step) {
    for (int g = 0; g < kMaxGroups; ++g) {
      values.lr[g] = step + float(g);
      values.weight_decay[g] = step * float(g);
    }
    values.bias1 = 0.1f * step;
    values.root_bias2 = 0.2f * step;
    launch(kernels::SetStepScalars{.slot = slot.ref(), .values = values}, stream);
    const StepScalars sent = values;
    values = {};  // the call must not look at the caller's copy any more
    slot.check();
    const std::vector<uint8_t> bytes = slot.tensor().to_vector<uint8_t>(stream);
    EXPECT_EQ(std::memcmp(bytes.data(), &sent, sizeof sent), 0) << "step " << step;
  }
}

TEST_P(StepScalarsTest, SetStepScalarsRefusesASlotOfAnotherSize) {
  Stream stream(device());
  Guarded small(stream, {int64_t(sizeof(StepScalars)) - 1}, DType::kU8), floats(stream, kStepScalarsShape, DType::kF32);
  EXPECT_THROW(launch(kernels::SetStepScalars{.slot = small.ref(), .values = {}}, stream), ShapeError);
  EXPECT_THROW(launch(kernels::SetStepScalars{.slot = floats.ref(), .values = {}}, stream), DTypeError);
}

}  // namespace
}  // namespace sluice::step_scalars_test
