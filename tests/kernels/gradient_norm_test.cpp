// Sums of squares against double, and the factor that gradients are clipped by.
#include "kernels/gradient_norm.h"

#include <cmath>
#include <limits>

#include "tests/support/support.h"

namespace sluice::test::gradient_norm_test {
namespace {

using GradientNormTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, GradientNormTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(GradientNormTest, SumsSquaresOfAnyLength) {
  const Stream s(device());
  for (const int64_t n : {0, 1, 31, 4096, 4097, 8193, 100003}) {
    SCOPED_TRACE(n);
    const Tensor x = random(s, {n}, 1, -3, 2);
    const Guarded sum(s, {1});
    launch(kernels::SumSquares{.x = x.cref(), .sum = sum.ref()}, s);
    double expected = 0;
    for (const double v : to_double(s, x)) expected += v * v;
    expect_close(to_double(s, sum.tensor()), {expected}, bound(DType::kF32));
    sum.check();
  }
}

TEST_P(GradientNormTest, TheFactorShortensToTheMostAndNeverLengthens) {
  const Stream s(device());
  const auto factor = [&](const std::vector<float>& squares, float most) {
    const Guarded out(s, {1});
    const Tensor in = Tensor::from<float>(s, squares, {int64_t(squares.size())});
    launch(kernels::ClipFactor{.squares = in.cref(), .factor = out.ref(), .most = most}, s);
    out.check();
    return to_double(s, out.tensor())[0];
  };
  EXPECT_NEAR(factor({9, 16}, 1), 0.2, 1e-6);
  EXPECT_NEAR(factor({9, 16}, 2.5f), 0.5, 1e-6);
  EXPECT_EQ(factor({9, 16}, 6), 1);
  EXPECT_EQ(factor({0}, 1), 1);
  EXPECT_EQ(factor(std::vector<float>(1000, 0.0f), 1), 1);
  EXPECT_NEAR(factor(std::vector<float>(1000, 10.0f), 1), 0.01, 1e-6);
  EXPECT_EQ(factor({std::numeric_limits<float>::infinity()}, 1), 0);
  EXPECT_TRUE(std::isnan(factor({1, std::numeric_limits<float>::quiet_NaN()}, 1)));
}

TEST_P(GradientNormTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3}, 1), one = random(s, {1}, 1), ints = random_ints(s, {3}, 1, 0, 4);
  EXPECT_THROW(launch(kernels::SumSquares{.x = x.cref(), .sum = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::SumSquares{.x = ints.cref(), .sum = one.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::ClipFactor{.squares = x.cref(), .factor = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::ClipFactor{.squares = ints.cref(), .factor = one.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::gradient_norm_test
