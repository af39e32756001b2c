// Pools as layers, and layers one after another.
#include "layers/pool.h"

#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/sequential.h"
#include "tests/layers/run.h"

namespace sluice::test::pool_test {
namespace {

using PoolTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, PoolTest, testing::ValuesIn(test_devices()), device_label);

// One image of 2x2 pixels and two channels.
const std::vector<float> kImage{1, -1, 2, -2, 3, -3, 6, -6};

TEST_P(PoolTest, TakesTheLargestOrTheMean) {
  LayerRun run(Stream(device()), Init{});
  const Tensor x = Tensor::from<float>(run.stream, kImage, {1, 2, 2, 2}, MemoryTag::kIo);
  const Pool2dSpec whole{.window = 2, .stride = 2};
  EXPECT_EQ(to_double(run.stream, run(MaxPool(whole), x)), (std::vector<double>{6, -1}));
  EXPECT_EQ(to_double(run.stream, run(AvgPool(whole), x)), (std::vector<double>{3, -3}));
  const Tensor global = run(GlobalAvgPool(), x);
  EXPECT_EQ(global.shape(), (Shape{1, 2}));
  EXPECT_EQ(to_double(run.stream, global), (std::vector<double>{3, -3}));
}

TEST_P(PoolTest, TokensGiveTheirMeanOrTheFirst) {
  LayerRun run(Stream(device()), Init{});
  const Tensor x = Tensor::from<float>(run.stream, kImage, {2, 2, 2}, MemoryTag::kIo);
  EXPECT_EQ(run(TokenMean(), x).shape(), (Shape{2, 2}));
  EXPECT_EQ(to_double(run.stream, run(TokenMean(), x)), (std::vector<double>{1.5, -1.5, 4.5, -4.5}));
  EXPECT_EQ(run(FirstToken(), x).shape(), (Shape{2, 2}));
  EXPECT_EQ(to_double(run.stream, run(FirstToken(), x)), (std::vector<double>{1, -1, 3, -3}));
}

TEST_P(PoolTest, TheGlobalMeanRefusesWhatIsNoSquareImage) {
  LayerRun run(Stream(device()), Init{});
  EXPECT_THROW(run(GlobalAvgPool(), random(run.stream, {1, 2, 3, 1}, 1)), ShapeError);
  EXPECT_THROW(run(GlobalAvgPool(), random(run.stream, {2, 3}, 1)), ShapeError);
}

TEST_P(PoolTest, ASequenceRunsItsLayersInOrder) {
  Init init;
  Sequential net;
  net.add<GlobalAvgPool>().add<Dense>(init.scope("fc"), 2, 3).add<Activate>(Act::kRelu);
  LayerRun run(Stream(device()), init);
  const Tensor x = Tensor::from<float>(run.stream, kImage, {1, 2, 2, 2}, MemoryTag::kIo);
  const std::vector<double> w = run.values("fc.weight"), b = run.values("fc.bias");
  std::vector<double> expected;
  for (size_t o = 0; o < 3; ++o) expected.push_back(std::max(0.0, b[o] + 3 * w[2 * o] - 3 * w[2 * o + 1]));
  expect_close(to_double(run.stream, run(net, x)), expected, bound(DType::kF32));
}

}  // namespace
}  // namespace sluice::test::pool_test
