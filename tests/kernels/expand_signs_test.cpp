// Packed signs as numbers.
#include "kernels/expand_signs.h"

#include "tests/kernels/packed_bits.h"

namespace sluice::test::expand_signs_test {
namespace {

using ExpandSignsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ExpandSignsTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(ExpandSignsTest, EveryBitBecomesItsNumber) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const auto& [rows, cols] : kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      const std::vector<double> bytes = to_double(s, random_ints(s, {packed_bytes(rows * cols)}, 1, 0, 256));
      const Tensor bits = bytes_on(s, bytes);
      const Guarded y(s, {rows, cols}, t);
      launch(kernels::ExpandSigns{.bits = bits.cref(), .y = y.ref(), .one = 0.5f, .zero = -2.0f}, s);
      std::vector<double> expected;
      for (int64_t i = 0; i < rows * cols; ++i)
        expected.push_back((int(bytes[size_t(i / 8)]) >> (i % 8) & 1) != 0 ? 0.5 : -2.0);
      EXPECT_EQ(to_double(s, y.tensor()), expected);
      y.check();
    }
}

}  // namespace
}  // namespace sluice::test::expand_signs_test
