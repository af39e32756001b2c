// x + epsilon sign(x): values for every sign that 0 may have, and the packed bits.
#include "kernels/add_sign.h"

#include "tests/kernels/packed_bits.h"

namespace sluice::test::add_sign_test {
namespace {

using AddSignTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AddSignTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(AddSignTest, AddsTheSignAndPacksIt) {
  const Stream s(device());
  const double epsilon = 0.125;
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const float zero : {-1.0f, 0.0f})
      for (const auto& [rows, cols] : kAwkward2d) {
        SCOPED_TRACE(testing::Message() << name(t) << " " << zero << " " << rows << "x" << cols);
        const Tensor x = with_zeroes(s, {rows, cols}, 1, t);
        const Guarded y(s, {rows, cols}, t), bits(s, {packed_bytes(rows * cols)}, DType::kU8);
        launch(
            kernels::AddSign{
                .x = x.cref(), .y = y.ref(), .bits = bits.ref(), .epsilon = float(epsilon), .of_zero = zero},
            s);
        std::vector<double> expected = to_double(s, x);
        EXPECT_EQ(to_double(s, bits.tensor()), packed(positive(expected)));
        for (double& v : expected) v += epsilon * (v > 0 ? 1 : v < 0 ? -1 : double(zero));
        expect_close(to_double(s, y.tensor()), expected, bound(t));
        y.check();
        bits.check();
        // In place, and without bits: evaluation.
        launch(kernels::AddSign{.x = x.cref(), .y = x.ref(), .epsilon = float(epsilon), .of_zero = zero}, s);
        EXPECT_EQ(to_double(s, x), to_double(s, y.tensor()));
      }
}

TEST_P(AddSignTest, RefusesBitsOfAnotherLength) {
  const Stream s(device());
  const Tensor x = random(s, {3, 5}, 1), bits = Tensor::empty(s, {3}, DType::kU8);
  EXPECT_THROW(launch(kernels::AddSign{.x = x.cref(), .y = x.ref(), .bits = bits.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::add_sign_test
