// The activations and their slopes against the formulas in double precision.
#include "kernels/activation.h"

#include <cmath>

#include "tests/support/support.h"

namespace sluice::test::activation_test {
namespace {

using ActivationTest = OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, ActivationTest, testing::ValuesIn(test_devices()), device_label);

constexpr Act kActs[] = {Act::kNone, Act::kRelu, Act::kLeakyRelu, Act::kSigmoid, Act::kTanh, Act::kGelu};

double reference(Act a, double x) {
  switch (a) {
    case Act::kNone:
      return x;
    case Act::kRelu:
      return std::max(x, 0.0);
    case Act::kLeakyRelu:
      return x > 0 ? x : 0.01 * x;
    case Act::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Act::kTanh:
      return std::tanh(x);
    case Act::kGelu:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

double reference_slope(Act a, double x) {  // central difference of the double reference, exact to about 1e-9
  const double h = 1e-5;
  return (reference(a, x + h) - reference(a, x - h)) / (2 * h);
}

TEST_P(ActivationTest, ActivationMatchesTheFormulaOnAwkwardShapes) {
  const Stream s(device());
  for (const Act a : kActs) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const auto& [rows, cols] : kAwkward2d) {
        SCOPED_TRACE(testing::Message() << int(a) << " " << name(dtype) << " " << rows << "x" << cols);
        const Tensor x = random(s, {rows, cols}, 1, -2, 2, dtype);
        const Guarded y(s, {rows, cols}, dtype);
        launch(kernels::Activation{.x = x.cref(), .y = y.ref(), .act = a}, s);
        std::vector<double> expected;
        for (const double v : to_double(s, x)) expected.push_back(reference(a, v));
        expect_close(to_double(s, y.tensor()), expected, bound(dtype));
        y.check();
      }
    }
  }
}

TEST_P(ActivationTest, ActivationGradMatchesTheSlopeOfTheFormula) {
  const Stream s(device());
  for (const Act a : kActs) {
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << int(a) << " " << rows << "x" << cols);
      const Tensor x = random(s, {rows, cols}, 1, -2, 2), dy = random(s, {rows, cols}, 2);
      const Tensor y = Tensor::empty(s, {rows, cols});
      launch(kernels::Activation{.x = x.cref(), .y = y.ref(), .act = a}, s);
      const Guarded dx(s, {rows, cols});
      const Tensor& kept = keeps_input(a) ? x : y;
      launch(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = dx.ref(), .act = a}, s);
      const std::vector<double> xs = to_double(s, x), dys = to_double(s, dy);
      std::vector<double> expected;
      for (size_t i = 0; i < xs.size(); ++i) expected.push_back(dys[i] * reference_slope(a, xs[i]));
      expect_close(to_double(s, dx.tensor()), expected, bound(DType::kF32));
      dx.check();
    }
  }
}

TEST_P(ActivationTest, ActivationRefusesOtherShapesAndIntegers) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3}, 1), y = random(s, {3, 2}, 1), labels = random_ints(s, {2, 3}, 1, 0, 9);
  EXPECT_THROW(launch(kernels::Activation{.x = x.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Activation{.x = labels.cref(), .y = labels.ref()}, s), DTypeError);
}

TEST_P(ActivationTest, ActivationGradientsAgreeWithDifferences) {
  const Stream s(device());
  for (const Act a : {Act::kSigmoid, Act::kTanh, Act::kGelu})
    check_gradients(s, Init(), {random(s, {5, 7}, 1)},
                    [a](Ctx& c, const std::vector<Var>& in) { return activation(c, in[0], a); });
}

TEST_P(ActivationTest, TheGradientCheckerSeesAWrongGradient) {
  const Stream s(device());
  const auto f = [](Ctx& c, const std::vector<Var>& in) {
    struct Wrong final : Function {  // passes dy on as if the op were the identity
      GradList backward_input(Tensor dy, BackwardCtx&) override { return {dy}; }
    };
    const Var y = activation(c, detach(in[0]), Act::kTanh);
    return c.tape->record(std::make_unique<Wrong>(), y.value, {in[0]}, false);
  };
  EXPECT_GT(gradient_error(s, Init(), {random(s, {5, 7}, 1, 1, 2)}, f), 0.4);
}

}  // namespace
}  // namespace sluice::test::activation_test
