// Rows of length 1 against the formula in double, with rows of zeroes and short ones.
#include "kernels/row_normalise.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::row_normalise_test {
namespace {

using RowNormaliseTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, RowNormaliseTest, testing::ValuesIn(test_devices()), device_label);

std::vector<double> normalised(const std::vector<double>& x, int64_t cols, double eps) {
  std::vector<double> y;
  for (size_t r = 0; r * size_t(cols) < x.size(); ++r) {
    double sum = 0;
    for (size_t j = 0; j < size_t(cols); ++j) sum += x[r * size_t(cols) + j] * x[r * size_t(cols) + j];
    for (size_t j = 0; j < size_t(cols); ++j) y.push_back(x[r * size_t(cols) + j] / std::max(std::sqrt(sum), eps));
  }
  return y;
}

std::vector<double> gradient(const std::vector<double>& x, const std::vector<double>& dy, int64_t cols, double eps) {
  std::vector<double> dx;
  for (size_t r = 0, n = size_t(cols); r * n < x.size(); ++r) {
    double square = 0, product = 0;
    for (size_t j = 0; j < n; ++j) {
      square += x[r * n + j] * x[r * n + j];
      product += x[r * n + j] * dy[r * n + j];
    }
    const double norm = std::sqrt(square);
    for (size_t j = 0; j < n; ++j)
      dx.push_back(norm < eps ? dy[r * n + j] / eps
                              : dy[r * n + j] / norm - x[r * n + j] * product / (norm * norm * norm));
  }
  return dx;
}

TEST_P(RowNormaliseTest, MatchesTheFormulaOnAwkwardShapes) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float eps : {1e-12f, 4.0f}) {  // the latter is longer than some rows
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " " << eps);
        const Tensor x = random(s, {rows, cols}, 1, -1, 2, t), dy = random(s, {rows, cols}, 2, -1, 1, t);
        const Guarded y(s, {rows, cols}, t), norms(s, {rows}), dx(s, {rows, cols}, t);
        launch(kernels::RowNormalise{.x = x.cref(), .y = y.ref(), .norms = norms.ref(), .eps = eps}, s);
        launch(
            kernels::RowNormaliseGrad{
                .y = y.tensor().cref(), .norms = norms.tensor().cref(), .dy = dy.cref(), .dx = dx.ref(), .eps = eps},
            s);
        const std::vector<double> in = to_double(s, x), expected = normalised(in, cols, double(eps));
        const std::vector<double> expected_dx = gradient(in, to_double(s, dy), cols, double(eps));
        expect_close(to_double(s, y.tensor()), expected, bound(t));
        // y of bf16 is what backward sees of x, and along x nothing of dy is left.
        expect_close(to_double(s, dx.tensor()), expected_dx, cols == 1 && eps < 1 ? 1e9 : bound(t));
        y.check();
        norms.check();
        dx.check();
        launch(
            kernels::RowNormaliseGrad{
                .y = y.tensor().cref(), .norms = norms.tensor().cref(), .dy = dy.cref(), .dx = dy.ref(), .eps = eps},
            s);
        EXPECT_EQ(to_double(s, dy), to_double(s, dx.tensor())) << "in place";
        launch(kernels::RowNormalise{.x = x.cref(), .y = x.ref(), .norms = norms.ref(), .eps = eps}, s);
        EXPECT_EQ(to_double(s, x), to_double(s, y.tensor())) << "in place";
      }
}

TEST_P(RowNormaliseTest, ARowOfZeroesStaysAndANanIsSeen) {
  const Stream s(device());
  const Tensor x = Tensor::from<float>(s, std::vector<float>{0, 0, 3, 4, std::nanf(""), 1}, {3, 2});
  Recorded pass(s);
  Ctx c = pass.ctx();
  const std::vector<double> y = to_double(s, row_normalise(c, {x}).value);
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], 0);
  EXPECT_NEAR(y[2], 0.6, 1e-7);
  EXPECT_NEAR(y[3], 0.8, 1e-7);
  EXPECT_TRUE(std::isnan(y[4]) && std::isnan(y[5]));
}

TEST_P(RowNormaliseTest, ANormOfExactlyEpsIsNoConstant) {
  const Stream s(device());
  const Tensor y = Tensor::from<float>(s, std::vector<float>{0.6f, 0.8f, 0.6f, 0.8f}, {2, 2});
  const Tensor norms = Tensor::from<float>(s, std::vector<float>{2.0f, 1.9f}, {2});
  const Tensor dy = Tensor::from<float>(s, std::vector<float>{1, 0, 1, 0}, {2, 2}), dx = Tensor::empty(s, {2, 2});
  launch(kernels::RowNormaliseGrad{.y = y.cref(), .norms = norms.cref(), .dy = dy.cref(), .dx = dx.ref(), .eps = 2.0f},
         s);
  expect_close(to_double(s, dx), {(1 - 0.36) / 2, -0.48 / 2, 0.5, 0}, bound(DType::kF32));
}

TEST_P(RowNormaliseTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {4, 7}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return row_normalise(c, in[0]); }, {.step = 2e-3});
  check_gradients(s, Init(), {random(s, {4, 7}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return row_normalise(c, in[0], 100.0f); });
}

TEST_P(RowNormaliseTest, KeepsTheOutputAndTheNorms) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var y = row_normalise(c, pass.tape.leaf(random(s, {4, 9}, 1, -1, 1, DType::kBF16)));
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), 36 * 2);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kStats), 16);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{y, random(s, {4, 9}, 3, -1, 1, DType::kBF16)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(RowNormaliseTest, WrongCallsAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3, 4}, 1), norms = random(s, {3}, 1), half = random(s, {3, 4}, 1, -1, 1, DType::kBF16);
  const auto call = [&](const Tensor& y, const Tensor& n, float eps) {
    launch(kernels::RowNormalise{.x = x.cref(), .y = y.ref(), .norms = n.ref(), .eps = eps}, s);
  };
  EXPECT_THROW(call(half, norms, 1), DTypeError);
  EXPECT_THROW(call(norms, norms, 1), ShapeError);
  EXPECT_THROW(call(x, x, 1), ShapeError);
  EXPECT_THROW(call(x, norms, 0), ConfigError);
  EXPECT_THROW(launch(kernels::RowNormaliseGrad{.y = x.cref(), .norms = x.cref(), .dy = x.cref(), .dx = x.ref()}, s),
               ShapeError);
}

}  // namespace
}  // namespace sluice::test::row_normalise_test
