// Mean squared error against the formula in double.
#include "kernels/mse.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::mse_test {
namespace {

using MseTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, MseTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(MseTest, MatchesTheFormulaOnAwkwardShapes) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t));
      const Tensor x = random(s, {rows, cols}, 1, -1, 2, t), to = random(s, {rows, cols}, 2, -1, 1, t);
      const Guarded loss(s, {1}), alone(s, {1}), dx(s, {rows, cols}, t);
      launch(kernels::Mse{.x = x.cref(), .target = to.cref(), .loss = loss.ref(), .dx = dx.ref(), .weight = 0.5f}, s);
      launch(kernels::Mse{.x = x.cref(), .target = to.cref(), .loss = alone.ref(), .weight = 0.5f}, s);
      const std::vector<double> a = to_double(s, x), b = to_double(s, to);
      double sum = 0;
      std::vector<double> expected;
      for (size_t i = 0; i < a.size(); ++i) {
        sum += 0.5 * (a[i] - b[i]) * (a[i] - b[i]) / double(a.size());
        expected.push_back((a[i] - b[i]) / double(a.size()));
      }
      expect_close(to_double(s, loss.tensor()), {sum}, bound(DType::kF32));
      EXPECT_EQ(to_double(s, loss.tensor()), to_double(s, alone.tensor()));
      expect_close(to_double(s, dx.tensor()), expected, bound(t));
      loss.check();
      dx.check();
      launch(kernels::Mse{.x = x.cref(), .target = to.cref(), .loss = loss.ref(), .dx = x.ref(), .weight = 0.5f}, s);
      expect_close(to_double(s, x), expected, bound(t));  // in place
    }
}

TEST_P(MseTest, RowsMayHaveWeights) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t));
      const Tensor x = random(s, {rows, cols}, 1, -1, 2, t), to = random(s, {rows, cols}, 2, -1, 1, t);
      const Tensor weights = random(s, {rows}, 3, 0, 2);
      const Guarded loss(s, {1}), alone(s, {1}), dx(s, {rows, cols}, t);
      kernels::Mse call{.x = x.cref(),
                        .target = to.cref(),
                        .loss = loss.ref(),
                        .dx = dx.ref(),
                        .row_weights = weights.cref(),
                        .weight = 0.5f};
      launch(call, s);
      const std::vector<double> a = to_double(s, x), b = to_double(s, to), w = to_double(s, weights);
      double sum = 0;
      std::vector<double> expected;
      for (size_t i = 0; i < a.size(); ++i) {
        const double share = 0.5 * w[i / size_t(cols)] / double(cols);
        sum += share * (a[i] - b[i]) * (a[i] - b[i]);
        expected.push_back(2 * share * (a[i] - b[i]));
      }
      expect_close(to_double(s, loss.tensor()), {sum}, bound(DType::kF32));
      expect_close(to_double(s, dx.tensor()), expected, bound(t));
      loss.check();
      dx.check();
      call.loss = alone.ref();
      call.dx = {};
      launch(call, s);
      EXPECT_EQ(to_double(s, loss.tensor()), to_double(s, alone.tensor()));
      call.dx = x.ref();
      launch(call, s);
      EXPECT_EQ(to_double(s, x), to_double(s, dx.tensor())) << "in place";
    }
}

TEST_P(MseTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3}, 1), other = random(s, {3, 2}, 1), half = random(s, {2, 3}, 1, -1, 1, DType::kBF16);
  const Tensor loss = random(s, {1}, 1);
  EXPECT_THROW(launch(kernels::Mse{.x = x.cref(), .target = other.cref(), .loss = loss.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Mse{.x = x.cref(), .target = half.cref(), .loss = loss.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::Mse{.x = x.cref(), .target = x.cref(), .loss = x.ref()}, s), ShapeError);
  const auto weighted = [&](const Tensor& w) {
    launch(kernels::Mse{.x = x.cref(), .target = x.cref(), .loss = loss.ref(), .row_weights = w.cref()}, s);
  };
  EXPECT_THROW(weighted(random(s, {3}, 1)), ShapeError);
  EXPECT_THROW(weighted(random_ints(s, {2}, 1, 0, 2)), DTypeError);
}

TEST_P(MseTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  const Tensor target = random(s, {4, 7}, 2);
  check_gradients(s, Init(), {random(s, {4, 7}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return mse(c, in[0], target, 2.0f); });
  const Tensor weights = random(s, {4}, 3, 0, 1);
  check_gradients(s, Init(), {random(s, {4, 7}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return mse(c, in[0], target, 2.0f, weights); });
}

}  // namespace
}  // namespace sluice::test::mse_test
