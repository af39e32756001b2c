// The packed ReLU: values, and every bit by its place; the gradient passes where a bit is set.
#include "kernels/packed_relu.h"

#include <cmath>

#include "tests/kernels/packed_bits.h"

namespace sluice::test::packed_relu_test {
namespace {

using PackedReluTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, PackedReluTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(PackedReluTest, KeepsPositiveValuesAndABitForEach) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      const Tensor x = with_zeroes(s, {rows, cols}, 1, t);
      const Guarded y(s, {rows, cols}, t), bits(s, {packed_bytes(rows * cols)}, DType::kU8);
      launch(kernels::PackedRelu{.x = x.cref(), .y = y.ref(), .bits = bits.ref()}, s);
      std::vector<double> expected = to_double(s, x);
      EXPECT_EQ(to_double(s, bits.tensor()), packed(positive(expected)));
      for (double& v : expected) v = std::max(v, 0.0);
      EXPECT_EQ(to_double(s, y.tensor()), expected);
      y.check();
      bits.check();
    }
}

TEST_P(PackedReluTest, AddsAResidualInTheSamePass) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      const Tensor x = random(s, {rows, cols}, 1, -1, 1, t), r = random(s, {rows, cols}, 2, -1, 1, t);
      const Guarded y(s, {rows, cols}, t), bits(s, {packed_bytes(rows * cols)}, DType::kU8);
      launch(kernels::PackedRelu{.x = x.cref(), .residual = r.cref(), .y = y.ref(), .bits = bits.ref()}, s);
      std::vector<double> expected = to_double(s, x);
      const std::vector<double> add = to_double(s, r);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += add[i];
      EXPECT_EQ(to_double(s, bits.tensor()), packed(positive(expected)));
      for (double& v : expected) v = std::max(v, 0.0);
      expect_close(to_double(s, y.tensor()), expected, bound(t));
      y.check();
      bits.check();
    }
}

TEST_P(PackedReluTest, EitherOutputAlone) {
  const Stream s(device());
  const Tensor x = with_zeroes(s, {7, 129}, 1, DType::kF32);
  const Guarded y(s, {7, 129}), bits(s, {packed_bytes(7 * 129)}, DType::kU8);
  launch(kernels::PackedRelu{.x = x.cref(), .bits = bits.ref()}, s);
  launch(kernels::PackedRelu{.x = x.cref(), .y = y.ref()}, s);
  std::vector<double> expected = to_double(s, x);
  EXPECT_EQ(to_double(s, bits.tensor()), packed(positive(expected)));
  for (double& v : expected) v = std::max(v, 0.0);
  EXPECT_EQ(to_double(s, y.tensor()), expected);
  y.check();
  bits.check();
}

TEST_P(PackedReluTest, NotANumberIsNotHidden) {
  const Stream s(device());
  const Tensor x = Tensor::from<float>(s, std::vector<float>{1, NAN, -1}, {3}),
               bits = Tensor::empty(s, {1}, DType::kU8);
  launch(kernels::PackedRelu{.x = x.cref(), .y = x.ref(), .bits = bits.ref()}, s);
  EXPECT_TRUE(std::isnan(to_double(s, x)[1]));
  EXPECT_EQ(to_double(s, bits), std::vector<double>{1});
}

TEST_P(PackedReluTest, GradientPassesWhereTheBitIsSet) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      const Tensor x = with_zeroes(s, {rows, cols}, 1, t), dy = random(s, {rows, cols}, 2, -1, 1, t);
      const Tensor bits = Tensor::empty(s, {packed_bytes(rows * cols)}, DType::kU8);
      launch(kernels::PackedRelu{.x = x.cref(), .y = x.ref(), .bits = bits.ref()}, s);  // in place
      const Guarded dx(s, {rows, cols}, t);
      launch(kernels::PackedReluGrad{.bits = bits.cref(), .dy = dy.cref(), .dx = dx.ref()}, s);
      std::vector<double> expected = to_double(s, dy);
      const std::vector<double> y = to_double(s, x);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] = y[i] > 0 ? expected[i] : 0;
      EXPECT_EQ(to_double(s, dx.tensor()), expected);
      launch(kernels::PackedReluGrad{.bits = bits.cref(), .dy = dy.cref(), .dx = dy.ref()}, s);
      EXPECT_EQ(to_double(s, dy), expected);
      dx.check();
    }
}

TEST_P(PackedReluTest, RefusesBitsOfAnotherLength) {
  const Stream s(device());
  const Tensor x = random(s, {3, 5}, 1), bits = Tensor::empty(s, {1}, DType::kU8);
  EXPECT_THROW(launch(kernels::PackedRelu{.x = x.cref(), .y = x.ref(), .bits = bits.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::PackedReluGrad{.bits = bits.cref(), .dy = x.cref(), .dx = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::PackedRelu{.x = x.cref(), .y = x.ref(), .bits = x.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::PackedRelu{.x = x.cref(), .residual = bits.cref(), .y = x.ref()}, s), Error);
}

}  // namespace
}  // namespace sluice::test::packed_relu_test
