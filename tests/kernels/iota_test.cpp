// Counting up.
#include "kernels/iota.h"

#include <numeric>

#include "tests/kernels/recorded.h"

namespace sluice::test::iota_test {
namespace {

using IotaTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, IotaTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(IotaTest, CountsFromZero) {
  const Stream s(device());
  for (const int64_t n : {0, 1, 31, 257, 70'001}) {
    const Guarded y(s, {n}, DType::kI32);
    launch(kernels::Iota{.y = y.ref()}, s);
    std::vector<double> expected(static_cast<size_t>(n));
    std::iota(expected.begin(), expected.end(), 0.0);
    EXPECT_EQ(to_double(s, y.tensor()), expected) << n;
    y.check();
  }
}

TEST_P(IotaTest, TheOpGivesI32AndOthersAreRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_EQ(to_double(s, iota(c, 3)), (std::vector<double>{0, 1, 2}));
  const Tensor floats = random(s, {3}, 1), square = random_ints(s, {3, 3}, 1, 0, 2);
  EXPECT_THROW(launch(kernels::Iota{.y = floats.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::Iota{.y = square.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::iota_test
