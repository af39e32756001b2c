// Activations, dropout and flatten as layers.
#include "layers/pointwise.h"

#include <algorithm>

#include "tests/layers/run.h"

namespace sluice::test::pointwise_test {
namespace {

using PointwiseTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, PointwiseTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(PointwiseTest, DropoutActsInTrainingOnlyAndByItsOwnPath) {
  Init init;
  const Dropout first(init.scope("first"), 0.5f), second(init.scope("second"), 0.5f);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {16, 64}, 1, 1, 2);
  EXPECT_EQ(to_double(run.stream, run(first, x)), to_double(run.stream, x));
  const std::vector<double> a = to_double(run.stream, run(first, x, true)),
                            again = to_double(run.stream, run(first, x, true)),
                            b = to_double(run.stream, run(second, x, true));
  EXPECT_GT(std::count(a.begin(), a.end(), 0.0), 400);
  EXPECT_EQ(a, again);
  EXPECT_NE(a, b);
}

TEST(PointwiseLayer, DropoutRefusesWhatIsNoProbability) {
  Init init;
  for (const float p : {1.0f, -0.1f}) EXPECT_THROW(Dropout(init.scope("drop"), p), ConfigError);
}

TEST_P(PointwiseTest, ActivateAppliesItsFunction) {
  LayerRun run(Stream(device()), Init{});
  const Tensor x = random(run.stream, {3, 31}, 1);
  std::vector<double> expected = to_double(run.stream, x);
  for (double& v : expected) v = std::max(v, 0.0);
  EXPECT_EQ(to_double(run.stream, run(Activate(Act::kRelu), x)), expected);
}

TEST_P(PointwiseTest, FlattenKeepsTheOrder) {
  LayerRun run(Stream(device()), Init{});
  const Tensor x = random(run.stream, {2, 3, 4, 5}, 1), y = run(Flatten(), x);
  EXPECT_EQ(y.shape(), (Shape{2, 60}));
  EXPECT_EQ(to_double(run.stream, y), to_double(run.stream, x));
}

}  // namespace
}  // namespace sluice::test::pointwise_test
