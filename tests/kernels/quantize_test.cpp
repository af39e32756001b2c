// Activations in 8 bits: ranges of groups, half a step of error at most, and what cannot be split.
#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>

#include "tests/support/support.h"

namespace sluice::test::quantize_test {
namespace {

using QuantizeTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, QuantizeTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(QuantizeTest, EveryGroupHasItsOwnRangeAndErrorsAreHalfAStep) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const int64_t n : {1, 255, 256, 257, 5000}) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << n);
      const Tensor x = random(s, {n}, 1, -3, 5, t);
      const Guarded q(s, {n}, DType::kU8), ranges(s, {kernels::quant_groups(n), 2}), y(s, {n}, DType::kF32);
      launch(kernels::Quantize{.x = x.cref(), .q = q.ref(), .ranges = ranges.ref()}, s);
      launch(kernels::Dequantize{.q = q.ref(), .ranges = ranges.ref(), .y = y.ref()}, s);
      const std::vector<double> v = to_double(s, x), got = to_double(s, y.tensor()), bytes = to_double(s, q.tensor());
      const std::vector<double> r = to_double(s, ranges.tensor());
      for (int64_t g = 0; g < kernels::quant_groups(n); ++g) {
        const auto begin = v.begin() + g * 256, end = v.begin() + std::min(n, (g + 1) * 256);
        const double low = *std::min_element(begin, end), high = *std::max_element(begin, end);
        EXPECT_FLOAT_EQ(float(r[size_t(2 * g)]), float(low));
        EXPECT_NEAR(r[size_t(2 * g + 1)], (high - low) / 255, 1e-6);
        for (auto i = size_t(g * 256); i < size_t(std::min(n, (g + 1) * 256)); ++i) {
          EXPECT_LE(std::abs(got[i] - v[i]), 0.501 * (high - low) / 255 + 1e-6);
          EXPECT_TRUE(v[i] != low || bytes[i] == 0);
          EXPECT_TRUE(v[i] != high || high == low || bytes[i] == 255);
        }
      }
      for (const Guarded* out : {&q, &ranges, &y}) out->check();
    }
}

TEST_P(QuantizeTest, EqualNumbersComeBackExactly) {
  const Stream s(device());
  const Tensor x = random(s, {300}, 1, 0.7f, 0.7f), q = Tensor::empty(s, {300}, DType::kU8);
  const Tensor ranges = Tensor::empty(s, {2, 2}), y = Tensor::empty(s, {300});
  launch(kernels::Quantize{.x = x.cref(), .q = q.ref(), .ranges = ranges.ref()}, s);
  launch(kernels::Dequantize{.q = q.cref(), .ranges = ranges.cref(), .y = y.ref()}, s);
  EXPECT_EQ(to_double(s, y), to_double(s, x));
}

TEST_P(QuantizeTest, WrongShapesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {300}, 1), q = Tensor::empty(s, {300}, DType::kU8), one = Tensor::empty(s, {1, 2});
  EXPECT_THROW(launch(kernels::Quantize{.x = x.cref(), .q = q.ref(), .ranges = one.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Dequantize{.q = x.cref(), .ranges = one.cref(), .y = x.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::quantize_test
