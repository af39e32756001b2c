// The learning indicator against its formula in double.
#include "kernels/learning_indicator.h"

#include "tests/kernels/packed_bits.h"

namespace sluice::test::learning_indicator_test {
namespace {

using LearningIndicatorTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LearningIndicatorTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;

Values reference(const Values& h, const Values& a, size_t rows) {
  Values y;
  const size_t count = rows == 0 ? 0 : h.size() / rows;
  for (size_t r = 0; r < rows; ++r) {
    double above = 0, below = 0;
    for (size_t i = r * count; i < (r + 1) * count; ++i) {
      above += a[i] * (2 * h[i] - a[i]);
      below += h[i] * h[i];
    }
    y.push_back(above / (below + 1e-6));
  }
  return y;
}

TEST_P(LearningIndicatorTest, TheWorkedExample) {
  const Stream s(device());
  const Tensor h = Tensor::from<float>(s, std::vector<float>{2, 2, 1, 0}, {1, 4});
  const Tensor a = Tensor::from<float>(s, std::vector<float>{1, 2, 0, 1}, {1, 4});
  const Guarded y(s, {1});
  launch(kernels::LearningIndicator{.x = h.cref(), .residual = a.cref(), .y = y.ref()}, s);
  EXPECT_NEAR(to_double(s, y.tensor())[0], 6.0 / 9.0, 1e-6);
  launch(kernels::LearningIndicator{.x = h.cref(), .residual = h.cref(), .y = y.ref()}, s);
  EXPECT_NEAR(to_double(s, y.tensor())[0], 1.0, 1e-6) << "backprop";
}

TEST_P(LearningIndicatorTest, MatchesTheFormulaForEachKindOfAuxiliaryActivation) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      const Tensor x = with_zeroes(s, {rows, 3, cols}, 1, t), other = random(s, {rows, 3, cols}, 2, -1, 1, t);
      const Tensor vector = random(s, {cols}, 3);
      const Values in = to_double(s, x), v = to_double(s, vector);
      const Guarded y(s, {rows});
      launch(kernels::LearningIndicator{.x = x.cref(), .residual = other.cref(), .y = y.ref()}, s);
      expect_close(to_double(s, y.tensor()), reference(in, to_double(s, other), size_t(rows)), bound(DType::kF32));

      Values h = in, a(in.size());
      for (size_t i = 0; i < in.size(); ++i) h[i] += a[i] = v[i % size_t(cols)];
      launch(kernels::LearningIndicator{.x = x.cref(), .vector = vector.cref(), .y = y.ref()}, s);
      expect_close(to_double(s, y.tensor()), reference(h, a, size_t(rows)), bound(DType::kF32));

      for (const double of_zero : {-1.0, 0.0}) {
        h = in;
        for (size_t i = 0; i < in.size(); ++i)
          h[i] += a[i] = double(0.01f) * (in[i] > 0 ? 1 : in[i] < 0 ? -1 : of_zero);
        launch(kernels::LearningIndicator{.x = x.cref(), .y = y.ref(), .of_zero = float(of_zero)}, s);
        const Values got = to_double(s, y.tensor());
        expect_close(got, reference(h, a, size_t(rows)), 2e-4);
        for (const double li : got) EXPECT_GE(li, 0.0);
      }
      y.check();
    }
}

TEST_P(LearningIndicatorTest, WrongShapesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 6}, 1), y = random(s, {5}, 2), two = random(s, {2}, 3), one = random(s, {3}, 4);
  EXPECT_THROW(launch(kernels::LearningIndicator{.x = x.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::LearningIndicator{.x = x.cref(), .residual = one.cref(), .y = two.ref()}, s),
               ShapeError);
  EXPECT_THROW(launch(kernels::LearningIndicator{.x = x.cref(), .vector = one.cref(), .y = two.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::learning_indicator_test
