// Log-softmax against the formula in double, near and far from zero.
#include "kernels/log_softmax.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::log_softmax_test {
namespace {

using LogSoftmaxTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LogSoftmaxTest, testing::ValuesIn(test_devices()), device_label);

struct Reference {
  std::vector<double> y, dx;
};
Reference reference(const std::vector<double>& x, const std::vector<double>& dy, int64_t cols) {
  Reference r;
  for (size_t row = 0, n = size_t(cols); row * n < x.size(); ++row) {
    double top = x[row * n], sum = 0, total = 0;
    for (size_t k = 0; k < n; ++k) top = std::max(top, x[row * n + k]);
    for (size_t k = 0; k < n; ++k) {
      sum += std::exp(x[row * n + k] - top);
      total += dy[row * n + k];
    }
    for (size_t k = 0; k < n; ++k) {
      r.y.push_back(x[row * n + k] - top - std::log(sum));
      r.dx.push_back(dy[row * n + k] - std::exp(r.y.back()) * total);
    }
  }
  return r;
}

TEST_P(LogSoftmaxTest, MatchesTheFormulaNearAndFarFromZero) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float shift : {0.0f, 1e4f, -1e4f}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " " << shift);
        const Tensor x = random(s, {rows, cols}, 1, shift - 5, shift + 5, t), dy = random(s, {rows, cols}, 2, -1, 1, t);
        const Guarded y(s, {rows, cols}, t), dx(s, {rows, cols}, t);
        launch(kernels::LogSoftmax{.x = x.cref(), .y = y.ref()}, s);
        launch(kernels::LogSoftmaxGrad{.y = y.tensor().cref(), .dy = dy.cref(), .dx = dx.ref()}, s);
        const Reference r = reference(to_double(s, x), to_double(s, dy), cols);
        expect_close(to_double(s, y.tensor()), r.y, bound(t));
        expect_close(to_double(s, dx.tensor()), r.dx, bound(t));
        y.check();
        dx.check();
        launch(kernels::LogSoftmaxGrad{.y = y.tensor().cref(), .dy = dy.cref(), .dx = dy.ref()}, s);
        EXPECT_EQ(to_double(s, dy), to_double(s, dx.tensor())) << "in place";
        launch(kernels::LogSoftmax{.x = x.cref(), .y = x.ref()}, s);
        EXPECT_EQ(to_double(s, x), to_double(s, y.tensor())) << "in place";
      }
}

TEST_P(LogSoftmaxTest, GradientsAgreeWithDifferencesOverTheLastDimension) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 3, 5}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return log_softmax(c, in[0]); });
}

TEST_P(LogSoftmaxTest, KeepsTheOutput) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var y = log_softmax(c, pass.tape.leaf(random(s, {4, 9}, 1)));
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), 36 * 4);
  EXPECT_EQ(pass.ledger.bytes(), 36 * 4);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{y, random(s, {4, 9}, 3)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(LogSoftmaxTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3, 4}, 1), y = random(s, {4, 3}, 1), half = random(s, {3, 4}, 1, -1, 1, DType::kBF16);
  EXPECT_THROW(launch(kernels::LogSoftmax{.x = x.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::LogSoftmax{.x = x.cref(), .y = half.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::LogSoftmaxGrad{.y = x.cref(), .dy = x.cref(), .dx = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::LogSoftmaxGrad{.y = half.cref(), .dy = x.cref(), .dx = x.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::log_softmax_test
