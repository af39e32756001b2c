// The finite flag: cleared by any infinity or NaN, never set again by a finite loss.
#include "kernels/check_finite.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/launch.h"
#include "tests/support/support.h"

namespace sluice::check_finite_test {
namespace {

using test::Guarded;
using CheckFiniteTest = test::OnEachDevice;  // one suite name per file

INSTANTIATE_TEST_SUITE_P(Devices, CheckFiniteTest, testing::ValuesIn(test::test_devices()), test::device_label);

int32_t flag_after(const Stream& s, int32_t before, const std::vector<float>& losses) {
  Tensor values = Tensor::from<float>(s, losses, {int64_t(losses.size())});
  Guarded flag(s, {1}, DType::kI32);
  Tensor t = flag.tensor();
  t.assign<int32_t>(s, std::vector<int32_t>{before});
  launch(kernels::FlagNonFinite{.losses = values.cref(), .finite = flag.ref()}, s);
  flag.check();
  return t.to_vector<int32_t>(s)[0];
}

TEST_P(CheckFiniteTest, FlagNonFiniteSeesEveryPlaceAndKind) {
  Stream stream(device());
  using Limits = std::numeric_limits<float>;
  for (int64_t n : {1, 7, 129, 1025}) {
    const std::vector<float> good(size_t(n), -Limits::max());
    EXPECT_EQ(flag_after(stream, 1, good), 1);
    EXPECT_EQ(flag_after(stream, 0, good), 0);  // another micro-batch had cleared it
    for (float bad : {Limits::quiet_NaN(), Limits::infinity(), -Limits::infinity()}) {
      for (int64_t at : {int64_t(0), n / 2, n - 1}) {
        std::vector<float> losses = good;
        losses[size_t(at)] = bad;
        EXPECT_EQ(flag_after(stream, 1, losses), 0) << bad << " at " << at << " of " << n;
      }
    }
  }
  EXPECT_EQ(flag_after(stream, 1, {}), 1);
}

TEST_P(CheckFiniteTest, TheFlagsOfReplicasCount) {
  Stream stream(device());
  for (const int32_t mine : {0, 1})
    for (const int32_t other : {0, 1}) {
      const Tensor flags = Tensor::from<int32_t>(stream, std::vector<int32_t>{1, other}, {2});
      Guarded flag(stream, {1}, DType::kI32);
      Tensor t = flag.tensor();
      t.assign<int32_t>(stream, std::vector<int32_t>{mine});
      launch(kernels::FlagNonFinite{.losses = flags.cref(), .finite = flag.ref()}, stream);
      flag.check();
      EXPECT_EQ(t.to_vector<int32_t>(stream)[0], mine & other);
    }
}

TEST_P(CheckFiniteTest, FlagNonFiniteRefusesOtherShapes) {
  Stream stream(device());
  Guarded losses(stream, {2}, DType::kF32), flag(stream, {1}, DType::kI32);
  Guarded square(stream, {2, 1}, DType::kF32), flags(stream, {2}, DType::kI32), bytes(stream, {2}, DType::kU8);
  EXPECT_THROW(launch(kernels::FlagNonFinite{.losses = square.ref(), .finite = flag.ref()}, stream), ShapeError);
  EXPECT_THROW(launch(kernels::FlagNonFinite{.losses = losses.ref(), .finite = flags.ref()}, stream), ShapeError);
  EXPECT_THROW(launch(kernels::FlagNonFinite{.losses = bytes.ref(), .finite = flag.ref()}, stream), DTypeError);
}

}  // namespace
}  // namespace sluice::check_finite_test
