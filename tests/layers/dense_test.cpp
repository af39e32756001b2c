// Dense: declared parameters, their starting range, and y = act(x w^T + b).
#include "layers/dense.h"

#include <cmath>

#include "tests/layers/run.h"

namespace sluice::test::dense_test {
namespace {

using DenseTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, DenseTest, testing::ValuesIn(test_devices()), device_label);

double largest(const std::vector<double>& values) {
  double most = 0;
  for (double v : values) most = std::max(most, std::abs(v));
  return most;
}

TEST_P(DenseTest, MultipliesAddsAndActivates) {
  const int64_t rows = 3, in = 31, out = 7;
  Init init;
  const Dense layer(init.scope("fc"), in, out, Act::kTanh);
  EXPECT_THAT(declared(init), testing::ElementsAre("fc.weight [7, 31]", "fc.bias [7]"));
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {rows, in}, 1);
  const std::vector<double> in_values = to_double(run.stream, x), w = run.values("fc.weight"),
                            b = run.values("fc.bias");
  std::vector<double> expected;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      double sum = b[size_t(o)];
      for (int64_t k = 0; k < in; ++k) sum += in_values[size_t(r * in + k)] * w[size_t(o * in + k)];
      expected.push_back(std::tanh(sum));
    }
  expect_close(to_double(run.stream, run(layer, x)), expected, bound(DType::kF32));
}

TEST_P(DenseTest, StartsWithinItsBounds) {
  Init init;
  const Dense plain(init.scope("plain"), 100, 50),
      spread(init.scope("spread"), 100, 50, Act::kSigmoid, DenseStart::kSpread),
      normal(init.scope("normal"), 100, 50, Act::kNone, DenseStart::kNormal),
      cut(init.scope("cut"), 100, 50, Act::kNone, DenseStart::kTruncated);
  LayerRun run(Stream(device()), init);
  const double spread_bound = 12 * std::sqrt(6.0 / 150);
  for (const auto& [path, most] :
       {std::pair<std::string, double>{"plain.weight", 0.1}, {"spread.weight", spread_bound}, {"cut.weight", 0.2}}) {
    EXPECT_LE(largest(run.values(path)), most * (1 + 1e-6)) << path;
    EXPECT_GT(largest(run.values(path)), most * 0.99) << path;  // 5,000 draws come close to the end
  }
  EXPECT_GT(largest(run.values("plain.bias")), 0);
  EXPECT_EQ(largest(run.values("spread.bias")), 0);
  EXPECT_NEAR(largest(run.values("normal.weight")), 0.036, 0.008);  // the largest of 5,000 draws
  EXPECT_EQ(largest(run.values("normal.bias")), 0);
  EXPECT_GT(largest(run.values("cut.bias")), 0);
}

TEST_P(DenseTest, GradientsFollowFiniteDifferences) {
  const Stream s(device());
  Init init;
  const Dense layer(init.scope("fc"), 5, 3, Act::kSigmoid);
  check_gradients(s, init, {random(s, {4, 5}, 1)},
                  [&](Ctx& c, const std::vector<Var>& x) { return layer.forward(c, x[0]); });
}

}  // namespace
}  // namespace sluice::test::dense_test
