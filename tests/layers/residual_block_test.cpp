// The residual block with both shortcuts against the formula in double, its gradients, and bf16.
#include "layers/residual_block.h"

#include <cmath>
#include <numeric>

#include "tests/layers/images.h"

namespace sluice::test::residual_block_test {
namespace {

using ResidualBlockTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ResidualBlockTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  Shape x;
  int64_t out;
  int stride;
};
// Identity and convolution as shortcut; one pixel, odd sides, more channels than a vector.
const std::vector<Case> kCases{
    {{2, 5, 7, 4}, 4, 1}, {{3, 6, 6, 3}, 5, 2}, {{2, 7, 5, 2}, 2, 2}, {{4, 1, 1, 3}, 3, 1}, {{2, 4, 4, 17}, 33, 2}};

std::vector<double> reference(const NamedValues& v, const Case& z, bool training) {
  const auto normed = [&](const Images& x, const std::string& conv_path, const std::string& bn, int stride) {
    Images y = conv(x, v.at(conv_path + ".weight"), z.out, Sliding::square(3, stride));
    normalise(y, {v.at(bn + ".weight"), v.at(bn + ".bias"), training});
    return y;
  };
  const Images in{z.x[0], z.x[1], z.x[2], z.x[3], v.at("x")};
  Images first = normed(in, "block.conv1", "block.bn1", z.stride);
  relu(first);
  Images y = normed(first, "block.conv2", "block.bn2", 1);
  const Images shortcut = z.stride > 1 ? normed(in, "block.shortcut.conv", "block.shortcut.bn", z.stride) : in;
  for (size_t i = 0; i < y.v.size(); ++i) y.v[i] += shortcut.v[i];
  relu(y);
  return y.v;
}

TEST_P(ResidualBlockTest, IsTheSumOfItsPathAndItsShortcut) {
  for (const DType t : product_dtypes(Stream(device())))
    for (const Case& z : kCases)
      for (const bool training : {false, true}) {
        SCOPED_TRACE(testing::Message() << z.x.text() << " -> " << z.out << " stride " << z.stride << " " << name(t)
                                        << (training ? " training" : " evaluation"));
        Init init;
        const BasicBlock block(init.scope("block"), z.x[3], z.out, z.stride);
        LayerRun run(Stream(device()), init);
        const Tensor x = random(run.stream, z.x, 1, -1, 1, t);
        const std::vector<double> expected = reference(named_values(run, x), z, training);
        const Tensor y = run(block, x, training);
        EXPECT_EQ(y.dtype(), t);
        // Each of the up to three convolutions and norms rounds its result.
        expect_close(to_double(run.stream, y), expected, bound(t) * 3);
      }
}

TEST_P(ResidualBlockTest, EvaluationUsesWhatTrainingHasSeen) {
  Init init;
  const BasicBlock block(init.scope("block"), 2, 4, 2);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {4, 4, 4, 2}, 1, 1, 3);
  const std::vector<double> fresh = to_double(run.stream, run(block, x));
  run(block, x, true);
  const std::vector<double> seen = to_double(run.stream, run(block, x));
  EXPECT_NE(seen, fresh);
  EXPECT_EQ(to_double(run.stream, run(block, x)), seen);  // evaluation leaves the statistics alone
}

TEST_P(ResidualBlockTest, GradientsAreDifferencesOfTheReference) {
  for (const Case& z : kCases) {
    SCOPED_TRACE(testing::Message() << z.x.text() << " -> " << z.out << " stride " << z.stride);
    Init init;
    const BasicBlock block(init.scope("block"), z.x[3], z.out, z.stride);
    LayerRun run(Stream(device()), init);
    expect_gradients(run, block, random(run.stream, z.x, 1),
                     [&](const NamedValues& v, bool training) { return reference(v, z, training); });
  }
}

TEST_P(ResidualBlockTest, GradientsInBf16PointWhereThoseInF32Do) {
  if (product_dtypes(Stream(device())).size() < 2) GTEST_SKIP() << "no bf16 products on this device";
  for (const int stride : {1, 2}) {
    Init init;
    const BasicBlock block(init.scope("block"), 8, 8, stride);
    LayerRun run(Stream(device()), init);
    const auto at = [&](DType t) {
      const Tensor x = random(run.stream, {4, 8, 8, 8}, 1, -1, 1, t);
      return gradients(run, block, x, random(run.stream, run(block, x).shape(), 2, -1, 1, t), true);
    };
    const NamedValues f32 = at(DType::kF32), half = at(DType::kBF16);
    for (const auto& [path, g] : f32) {
      const std::vector<double>& h = half.at(path);
      const double product = std::inner_product(g.begin(), g.end(), h.begin(), 0.0);
      const double squares = std::inner_product(g.begin(), g.end(), g.begin(), 0.0) *
                             std::inner_product(h.begin(), h.end(), h.begin(), 0.0);
      EXPECT_GT(product / std::sqrt(squares), 0.998) << path << " at stride " << stride;
    }
  }
}

TEST(ResidualBlock, DeclaresTwoConvolutionsAndAThirdWhereTheImageShrinks) {
  Init init;
  const BasicBlock same(init.scope("same"), 4, 4), smaller(init.scope("smaller"), 4, 6, 2);
  EXPECT_THAT(declared(init), testing::ElementsAre(
                                  "same.conv1.weight [4, 3, 3, 4]", "same.bn1.weight [4]", "same.bn1.bias [4]",
                                  "same.conv2.weight [4, 3, 3, 4]", "same.bn2.weight [4]", "same.bn2.bias [4]",
                                  "smaller.conv1.weight [6, 3, 3, 4]", "smaller.bn1.weight [6]", "smaller.bn1.bias [6]",
                                  "smaller.conv2.weight [6, 3, 3, 6]", "smaller.bn2.weight [6]", "smaller.bn2.bias [6]",
                                  "smaller.shortcut.conv.weight [6, 3, 3, 4]", "smaller.shortcut.bn.weight [6]",
                                  "smaller.shortcut.bn.bias [6]"));
}

TEST(ResidualBlock, RefusesToAddImagesOfOtherChannels) {
  Init init;
  EXPECT_THROW(BasicBlock(init.scope("block"), 4, 6, 1), ShapeError);
}

}  // namespace
}  // namespace sluice::test::residual_block_test
