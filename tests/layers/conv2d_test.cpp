// The convolution layer: declared parameters and the sum it stands for.
#include "layers/conv2d.h"

#include <cmath>

#include "tests/layers/run.h"

namespace sluice::test::conv2d_test {
namespace {

using Conv2dLayerTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, Conv2dLayerTest, testing::ValuesIn(test_devices()), device_label);

struct Sizes {
  int64_t side, in, out;
};
struct Place {
  int64_t row, column, channel;
};

/// One output of a 3x3 convolution with padding 1 over NHWC images, KRSC filters and two groups.
double pixel(const std::vector<double>& x, const std::vector<double>& w, const Sizes& n, const Place& at) {
  const int64_t part = n.in / 2, first = at.channel / (n.out / 2) * part;
  double sum = 0;
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t s = 0; s < 3; ++s)
      for (int64_t c = 0; c < part; ++c) {
        const int64_t h = at.row + r - 1, v = at.column + s - 1;
        if (h < 0 || v < 0 || h >= n.side || v >= n.side) continue;
        sum += x[size_t((h * n.side + v) * n.in + first + c)] * w[size_t(((at.channel * 3 + r) * 3 + s) * part + c)];
      }
  return sum;
}

TEST_P(Conv2dLayerTest, IsTheSumOverItsWindow) {
  const int64_t side = 5, in = 4, out = 6;
  Init init;
  const Conv2d layer(init.scope("conv"), {in, out, 3}, {.stride = 1, .padding = 1, .groups = 2});
  EXPECT_THAT(declared(init), testing::ElementsAre("conv.weight [6, 3, 3, 2]", "conv.bias [6]"));
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {1, side, side, in}, 1);
  const std::vector<double> image = to_double(run.stream, x), w = run.values("conv.weight"),
                            b = run.values("conv.bias");
  std::vector<double> expected;
  for (int64_t row = 0; row < side; ++row)
    for (int64_t column = 0; column < side; ++column)
      for (int64_t k = 0; k < out; ++k)
        expected.push_back(b[size_t(k)] + pixel(image, w, {side, in, out}, {row, column, k}));
  expect_close(to_double(run.stream, run(layer, x)), expected, bound(DType::kF32));
}

TEST_P(Conv2dLayerTest, WithoutABiasDeclaresNone) {
  Init init;
  const Conv2d layer(init.scope("conv"), {1, 2, 3}, {.padding = 1}, /*bias=*/false);
  EXPECT_THAT(declared(init), testing::ElementsAre("conv.weight [2, 3, 3, 1]"));
}

TEST(Conv2dLayer, StartsAsTold) {
  Init init;
  const Conv2d::Shape2d shape{8, 4, {1, 7}};
  const Conv2dSpec spec{.padding = {0, 3}};
  const Conv2d plain(init.scope("plain"), shape, spec);
  const Conv2d out(init.scope("out"), shape, spec, true, {}, ConvStart::kFanOut);
  const Conv2d cut(init.scope("cut"), shape, spec, true, {}, ConvStart::kTruncated);
  EXPECT_THAT(declared(init),
              testing::ElementsAre("plain.weight [4, 1, 7, 8]", "plain.bias [4]", "out.weight [4, 1, 7, 8]",
                                   "out.bias [4]", "cut.weight [4, 1, 7, 8]", "cut.bias [4]"));
  const auto start = [&](size_t i) { return init.params()[i].initial; };
  EXPECT_FLOAT_EQ(start(0).high, 1 / std::sqrt(7.0f * 8));
  EXPECT_FLOAT_EQ(start(1).high, 1 / std::sqrt(7.0f * 8));
  EXPECT_FLOAT_EQ(start(2).deviation, std::sqrt(2.0f / (7 * 4)));
  EXPECT_EQ(start(2).cut, 0);
  EXPECT_FLOAT_EQ(start(4).deviation, 0.1f);
  EXPECT_EQ(start(4).cut, 2);
  for (const size_t bias : {3u, 5u}) EXPECT_TRUE(start(bias).low == 0 && start(bias).high == 0);
}

TEST(Conv2dLayer, RefusesChannelsThatDoNotSplitIntoTheGroups) {
  Init init;
  EXPECT_THROW(Conv2d(init.scope("conv"), {3, 4, 3}, {.groups = 2}), ShapeError);
  EXPECT_THROW(Conv2d(init.scope("conv"), {4, 3, 3}, {.groups = 2}), ShapeError);
}

}  // namespace
}  // namespace sluice::test::conv2d_test
