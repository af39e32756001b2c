// Fills: constants, and uniform numbers against Philox's published answers and a plain loop.
#include "kernels/fill.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/launch.h"
#include "tests/support/support.h"

namespace sluice::fill_test {
namespace {

using test::Guarded;
using FillTest = test::OnEachDevice;  // one suite name per file

INSTANTIATE_TEST_SUITE_P(Devices, FillTest, testing::ValuesIn(test::test_devices()), test::device_label);

// Known answers of Random123 1.14 (kat_vectors, philox4x32 10).
TEST(Philox, GivesThePublishedAnswers) {
  const Philox4 zero = philox({0, 0}, 0, 0);
  EXPECT_EQ(zero.v[0], 0x6627e8d5u);
  EXPECT_EQ(zero.v[1], 0xe169c58du);
  EXPECT_EQ(zero.v[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.v[3], 0x9b00dbd8u);
  const Philox4 pi = philox({0xa4093822u, 0x299f31d0u}, 0x85a308d3243f6a88u, 0x0370734413198a2eu);
  EXPECT_EQ(pi.v[0], 0xd16cfe09u);
  EXPECT_EQ(pi.v[1], 0x94fdccebu);
  EXPECT_EQ(pi.v[2], 0x5001e420u);
  EXPECT_EQ(pi.v[3], 0x24126ea1u);
}

TEST_P(FillTest, FillConstantWritesEveryElement) {
  Stream stream(device());
  for (DType t : {DType::kF32, DType::kBF16, DType::kI32}) {
    for (const auto& [rows, cols] : test::kAwkward2d) {
      SCOPED_TRACE(testing::Message() << name(t) << " " << rows << "x" << cols);
      Guarded y(stream, {rows, cols}, t);
      launch(kernels::FillConstant{.y = y.ref(), .value = -3.0f}, stream);
      y.check();
      const std::vector<double> expected(size_t(rows * cols), -3.0);
      EXPECT_EQ(test::to_double(stream, y.tensor()), expected);
    }
  }
}

TEST_P(FillTest, FillUniformMapsOnePhiloxWordToEachElement) {
  Stream stream(device());
  const PhiloxKey key{17, 99};
  for (int64_t n : {0, 1, 3, 4, 129, 16384, 16387}) {
    SCOPED_TRACE(n);
    Guarded y(stream, {n}, DType::kF32);
    launch(kernels::FillUniform{.y = y.ref(), .low = -0.5f, .high = 2.0f, .key = key}, stream);
    y.check();
    std::vector<double> expected;
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t word = philox(key, uint64_t(i) / 4, 0).v[i % 4];
      expected.push_back(-0.5 + 2.5 * double(word >> 8) / 16777216.0);
    }
    test::expect_close(test::to_double(stream, y.tensor()), expected, 1e-6);
  }
}

TEST_P(FillTest, FillUniformCoversTheRangeEvenly) {
  Stream stream(device());
  constexpr int64_t kCount = 100000;
  Guarded y(stream, {kCount}, DType::kBF16);
  launch(kernels::FillUniform{.y = y.ref(), .low = 0.0f, .high = 8.0f, .key = {1, 2}}, stream);
  std::array<int, 8> counts{};
  for (double v : test::to_double(stream, y.tensor())) {
    ASSERT_GE(v, 0.0);
    ASSERT_LE(v, 8.0);
    ++counts[size_t(std::min(7.0, v))];
  }
  for (int count : counts) EXPECT_NEAR(count, kCount / 8, 600);  // 6 standard deviations: 105 each
}

TEST_P(FillTest, FillNormalIsBoxAndMullersTransformOfEachDraw) {
  Stream stream(device());
  const PhiloxKey key{17, 99};
  const double turn = 2 * std::acos(-1.0);
  for (int64_t n : {0, 1, 3, 4, 129, 16384, 16387}) {
    SCOPED_TRACE(n);
    Guarded y(stream, {n}, DType::kF32);
    launch(kernels::FillNormal{.y = y.ref(), .mean = -0.5f, .deviation = 2.0f, .key = key}, stream);
    y.check();
    std::vector<double> expected;
    for (int64_t i = 0; i < n; ++i) {
      const Philox4 words = philox(key, uint64_t(i) / 4, 0);
      const int pair = int(i % 4) / 2 * 2;
      const double u = 1 - double(words.v[pair] >> 8) / 16777216.0, angle = double(words.v[pair + 1] >> 8) / 16777216.0;
      const double radius = std::sqrt(-2 * std::log(u));
      expected.push_back(-0.5 + 2 * radius * (i % 2 == 0 ? std::cos(turn * angle) : std::sin(turn * angle)));
    }
    test::expect_close(test::to_double(stream, y.tensor()), expected, 1e-6);
  }
}

TEST_P(FillTest, FillNormalHasTheMomentsAndTheTails) {
  Stream stream(device());
  constexpr int64_t kCount = 100000;
  const Tensor y = Tensor::empty(stream, {kCount});
  launch(kernels::FillNormal{.y = y.ref(), .key = {1, 2}}, stream);
  std::array<double, 5> moments{};
  double neighbours = 0, last = 0;
  int outside = 0;
  for (const double v : test::to_double(stream, y)) {
    for (int k = 1; k < 5; ++k) moments[size_t(k)] += std::pow(v, k) / kCount;
    neighbours += v * last / kCount;
    last = v;
    outside += std::abs(v) > 2 ? 1 : 0;
  }
  // Within six standard deviations of the estimate.
  EXPECT_NEAR(moments[1], 0, 0.019);
  EXPECT_NEAR(moments[2], 1, 0.027);
  EXPECT_NEAR(moments[3], 0, 0.074);
  EXPECT_NEAR(moments[4], 3, 0.19);
  EXPECT_NEAR(neighbours, 0, 0.019);
  EXPECT_NEAR(outside, 0.0455 * kCount, 400);
}

TEST_P(FillTest, FillNormalDrawsAgainWhatLiesBehindTheCut) {
  Stream stream(device());
  const PhiloxKey key{17, 99};
  constexpr int64_t kCount = 100003;
  for (const float cut : {1.0f, 2.0f}) {
    const Guarded y(stream, {kCount}), any(stream, {kCount});
    launch(kernels::FillNormal{.y = y.ref(), .mean = 3, .deviation = 0.1f, .cut = cut, .key = key}, stream);
    launch(kernels::FillNormal{.y = any.ref(), .mean = 3, .deviation = 0.1f, .key = key}, stream);
    y.check();
    const std::vector<double> v = test::to_double(stream, y.tensor()), free = test::to_double(stream, any.tensor());
    double sum = 0, squares = 0;
    int again = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const double z = (v[i] - 3) / 0.1, before = (free[i] - 3) / 0.1;
      ASSERT_LE(std::abs(z), cut + 1e-5);
      if (std::abs(before) < cut - 1e-5) {
        ASSERT_EQ(v[i], free[i]) << i;
      }
      again += v[i] != free[i] ? 1 : 0;
      sum += z / kCount;
      squares += z * z / kCount;
    }
    // The density within the cut is the normal one over its mass there; six standard deviations of the estimates.
    const double mass = std::erf(cut / std::sqrt(2.0)),
                 at_cut = std::exp(-cut * cut / 2) / std::sqrt(std::acos(0.0) * 4);
    EXPECT_NEAR(sum, 0, 0.017) << cut;
    EXPECT_NEAR(squares, 1 - 2 * cut * at_cut / mass, 0.017) << cut;
    EXPECT_NEAR(again, (1 - mass) * kCount, 900) << cut;
  }
  const Guarded y(stream, {4});
  EXPECT_THROW(launch(kernels::FillNormal{.y = y.ref(), .cut = 0.5f, .key = key}, stream), ConfigError);
}

TEST_P(FillTest, FillsRefuseOtherTypes) {
  Stream stream(device());
  Guarded bytes(stream, {4}, DType::kU8), ints(stream, {4}, DType::kI32);
  EXPECT_THROW(launch(kernels::FillConstant{.y = bytes.ref(), .value = 1.0f}, stream), DTypeError);
  EXPECT_THROW(launch(kernels::FillUniform{.y = ints.ref(), .low = 0.0f, .high = 1.0f, .key = {}}, stream), DTypeError);
  EXPECT_THROW(launch(kernels::FillNormal{.y = ints.ref(), .key = {}}, stream), DTypeError);
}

}  // namespace
}  // namespace sluice::fill_test
