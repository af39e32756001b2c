// The residual block with both shortcuts against the formula in double, its gradients, and bf16.
#include "layers/residual_block.h"

#include <cmath>
#include <map>
#include <numeric>

#include "tests/layers/run.h"

namespace sluice::test::residual_block_test {
namespace {

using ResidualBlockTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ResidualBlockTest, testing::ValuesIn(test_devices()), device_label);

/// NHWC images in double.
struct Images {
  int64_t n, h, w, c;
  std::vector<double> v;

  double at(int64_t i, int64_t row, int64_t column, int64_t channel) const {
    if (row < 0 || column < 0 || row >= h || column >= w) return 0;
    return v[size_t(((i * h + row) * w + column) * c + channel)];
  }
};

/// 3x3, padding 1, KRSC filters.
Images conv(const Images& x, const std::vector<double>& filters, int64_t out, int stride) {
  Images y{x.n, (x.h + stride - 1) / stride, (x.w + stride - 1) / stride, out, {}};
  for (int64_t i = 0; i < y.n; ++i)
    for (int64_t p = 0; p < y.h; ++p)
      for (int64_t q = 0; q < y.w; ++q)
        for (int64_t k = 0; k < out; ++k) {
          double sum = 0;
          for (int64_t tap = 0; tap < 9 * x.c; ++tap)
            sum += filters[size_t(k * 9 * x.c + tap)] *
                   x.at(i, p * stride + tap / (3 * x.c) - 1, q * stride + tap / x.c % 3 - 1, tap % x.c);
          y.v.push_back(sum);
        }
  return y;
}

/// By the batch's statistics, or by the running ones at their start: mean 0, variance 1.
void normalise(Images& x, const std::vector<double>& gamma, const std::vector<double>& beta, bool training) {
  const int64_t rows = x.n * x.h * x.w;
  for (int64_t c = 0; c < x.c; ++c) {
    double mean = 0, var = training ? 0 : 1;
    if (training) {
      for (int64_t r = 0; r < rows; ++r) mean += x.v[size_t(r * x.c + c)] / double(rows);
      for (int64_t r = 0; r < rows; ++r) var += std::pow(x.v[size_t(r * x.c + c)] - mean, 2) / double(rows);
    }
    for (int64_t r = 0; r < rows; ++r) {
      double& v = x.v[size_t(r * x.c + c)];
      v = (v - mean) / std::sqrt(var + 1e-5) * gamma[size_t(c)] + beta[size_t(c)];
    }
  }
}

void relu(Images& x) {
  for (double& v : x.v) v = std::max(v, 0.0);
}

struct Case {
  Shape x;
  int64_t out;
  int stride;
};
// Identity and convolution as shortcut; one pixel, odd sides, more channels than a vector.
const std::vector<Case> kCases{
    {{2, 5, 7, 4}, 4, 1}, {{3, 6, 6, 3}, 5, 2}, {{2, 7, 5, 2}, 2, 2}, {{4, 1, 1, 3}, 3, 1}, {{2, 4, 4, 17}, 33, 2}};

/// The block's parameters by path, and its input under "x".
using Values = std::map<std::string, std::vector<double>>;

Values values(LayerRun& run, const Tensor& x) {
  Values v{{"x", to_double(run.stream, x)}};
  for (const ParamSpec& p : run.arena.specs()) v[p.path] = run.values(p.path);
  return v;
}

std::vector<double> reference(const Values& v, const Case& z, bool training) {
  const Images in{z.x[0], z.x[1], z.x[2], z.x[3], v.at("x")};
  Images first = conv(in, v.at("block.conv1.weight"), z.out, z.stride);
  normalise(first, v.at("block.bn1.weight"), v.at("block.bn1.bias"), training);
  relu(first);
  Images y = conv(first, v.at("block.conv2.weight"), z.out, 1);
  normalise(y, v.at("block.bn2.weight"), v.at("block.bn2.bias"), training);
  Images shortcut = in;
  if (z.stride > 1) {
    shortcut = conv(in, v.at("block.shortcut.conv.weight"), z.out, z.stride);
    normalise(shortcut, v.at("block.shortcut.bn.weight"), v.at("block.shortcut.bn.bias"), training);
  }
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
        const std::vector<double> expected = reference(values(run, x), z, training);
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

/// Gradients of sum(y * dy) by the tape: the input's under "x", the parameters' by path.
Values gradients(LayerRun& run, const BasicBlock& block, const Tensor& x, const Tensor& dy, bool training) {
  const Stream& s = run.stream;
  Tape tape;
  Ctx c{.stream = s,
        .weights = run.arena.weights(),
        .arena = run.arena,
        .ledger = run.ledger,
        .tape = &tape,
        .training = training};
  const Var leaf = tape.leaf(x), y = block.forward(c, leaf);
  EXPECT_GT(run.ledger.bytes(), 0);
  BackwardCtx b{.stream = s, .weights = run.arena.weights(), .arena = run.arena, .ledger = run.ledger};
  run.arena.begin_step();
  tape.backward({{y, dy}}, b);
  run.arena.finish_grads(s);
  EXPECT_EQ(run.ledger.bytes(), 0);
  const Tensor dx = tape.take_grad(leaf);
  EXPECT_EQ(dx.dtype(), x.dtype());
  Values all{{"x", to_double(s, dx)}};
  for (size_t i = 0; i < run.arena.specs().size(); ++i) {
    const ParamSpec& p = run.arena.specs()[i];
    all[p.path] = to_double(s, run.arena.grads().flat_view(run.arena.offset(int(i)), p.shape));
  }
  return all;
}

// Differences of the reference, not of the block: in double a step can be so small that it crosses no ReLU's corner.
TEST_P(ResidualBlockTest, GradientsAreDifferencesOfTheReference) {
  constexpr double kStep = 1e-6;
  for (const Case& z : kCases)
    for (const bool training : {true, false}) {
      SCOPED_TRACE(testing::Message() << z.x.text() << " -> " << z.out << " stride " << z.stride
                                      << (training ? " training" : " evaluation"));
      Init init;
      const BasicBlock block(init.scope("block"), z.x[3], z.out, z.stride);
      LayerRun run(Stream(device()), init);
      const Tensor x = random(run.stream, z.x, 1), dy = random(run.stream, run(block, x).shape(), 2);
      const std::vector<double> direction = to_double(run.stream, dy);
      Values at = values(run, x);
      for (const auto& named : gradients(run, block, x, dy, training)) {
        const auto& gradient = named.second;
        SCOPED_TRACE(named.first);
        std::vector<double> got, expected;
        const size_t stride = std::max<size_t>(1, gradient.size() / 12);
        for (size_t i = stride / 2; i < gradient.size(); i += stride) {
          const auto value = [&](double change) {
            Values moved = at;
            moved[named.first][i] += change;
            const std::vector<double> y = reference(moved, z, training);
            return std::inner_product(y.begin(), y.end(), direction.begin(), 0.0);
          };
          got.push_back(gradient[i]);
          expected.push_back((value(kStep) - value(-kStep)) / (2 * kStep));
        }
        got.push_back(1);  // gradients that are zero by the formula (one row a channel) have rounding errors only
        expected.push_back(1);
        expect_close(got, expected, 1e-4);
      }
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
    const Values f32 = at(DType::kF32), half = at(DType::kBF16);
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
