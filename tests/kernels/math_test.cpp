// Sweeps the floats: every function against libm in double, in units in the last place.
#include "kernels/common/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace sluice::math_test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// |got - exact| in units of the float spacing at `exact`; 0 for the same infinity, huge for a wrong kind.
double ulps(float got, double exact) {
  const float rounded = float(exact);
  if (std::isnan(got) || std::isnan(rounded)) return std::isnan(got) == std::isnan(rounded) ? 0 : 1e30;
  if (std::isinf(got) || std::isinf(rounded)) return got == rounded ? 0 : 1e30;
  const double magnitude = std::max(std::fabs(double(rounded)), double(std::numeric_limits<float>::min()));
  return std::fabs(double(got) - exact) / std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

struct Worst {
  double error = 0;
  float at = 0;
};

/// The largest error over [low, high]: every 509th float, both signs where the range has them.
template <class F, class Exact>
Worst sweep(F f, Exact exact, float low, float high) {
  Worst worst;
  for (uint64_t u = 0; u < (uint64_t(1) << 32); u += 509) {
    const float x = math::from_bits(int32_t(uint32_t(u)));
    if (!(x >= low && x <= high)) continue;
    const double e = ulps(f(x), exact(double(x)));
    if (e > worst.error) worst = {e, x};
  }
  return worst;
}

/// Every float within 20000 steps of `x`: the seams between two formulas.
template <class F, class Exact>
Worst seam(F f, Exact exact, float x) {
  Worst worst;
  for (int32_t step = -20000; step <= 20000; ++step) {
    const float v = math::from_bits(math::to_bits(x) + step);
    const double e = ulps(f(v), exact(double(v)));
    if (e > worst.error) worst = {e, v};
  }
  return worst;
}

#define EXPECT_WITHIN(worst, bound)                                         \
  do {                                                                      \
    const Worst w_ = (worst);                                               \
    EXPECT_LE(w_.error, bound) << "at x = " << std::hexfloat << w_.at;      \
    EXPECT_GT(w_.error, 0.3) << "no error at all: the sweep saw no points"; \
  } while (false)

TEST(Math, ExpIsWithinItsBoundOverAllFloats) {
  const auto exact = [](double x) { return std::exp(x); };
  EXPECT_WITHIN(sweep(math::exp, exact, -87.33f, kInf), 1.0);
  EXPECT_WITHIN(sweep(math::exp, exact, -kInf, -87.33f), 2.0);
  for (float x : {88.7228f, 0.34657f, -0.34657f}) EXPECT_WITHIN(seam(math::exp, exact, x), 1.0);
  for (float x : {-87.3365f, -103.97f}) EXPECT_WITHIN(seam(math::exp, exact, x), 2.0);
  EXPECT_EQ(math::exp(kInf), kInf);
  EXPECT_EQ(math::exp(-kInf), 0.0f);
  EXPECT_EQ(math::exp(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(math::exp(kNan)));
}

TEST(Math, LogIsWithinItsBoundOverAllFloats) {
  const auto exact = [](double x) { return std::log(x); };
  EXPECT_WITHIN(sweep(math::log, exact, 0.0f, kInf), 1.0);
  for (float x : {0.70710678f, 1.41421356f, 1.17549435e-38f}) EXPECT_WITHIN(seam(math::log, exact, x), 1.0);
  EXPECT_WITHIN(seam(math::log, exact, 1.0f), 1.0);
  EXPECT_EQ(math::log(0.0f), -kInf);
  EXPECT_EQ(math::log(-0.0f), -kInf);
  EXPECT_EQ(math::log(kInf), kInf);
  EXPECT_TRUE(std::isnan(math::log(-1e-40f)));
  EXPECT_TRUE(std::isnan(math::log(-kInf)));
  EXPECT_TRUE(std::isnan(math::log(kNan)));
}

TEST(Math, SigmoidIsWithinItsBoundWhereItIsNormal) {
  const auto exact = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  EXPECT_WITHIN(sweep(math::sigmoid, exact, -87.3f, kInf), 3.0);
  EXPECT_EQ(math::sigmoid(-89.0f), 0.0f);
  EXPECT_EQ(math::sigmoid(-kInf), 0.0f);
  EXPECT_EQ(math::sigmoid(kInf), 1.0f);
  EXPECT_TRUE(std::isnan(math::sigmoid(kNan)));
}

TEST(Math, TanhIsWithinItsBoundAndOdd) {
  const auto exact = [](double x) { return std::tanh(x); };
  EXPECT_WITHIN(sweep(math::tanh, exact, -kInf, kInf), 2.0);
  EXPECT_WITHIN(seam(math::tanh, exact, 0.625f), 2.0);
  EXPECT_WITHIN(seam(math::tanh, exact, 9.0109f), 2.0);
  for (float x : {0.0f, 1e-42f, 1e-10f, 0.3f, 0.7f, 30.0f, kInf}) EXPECT_EQ(math::tanh(-x), -math::tanh(x));
  EXPECT_TRUE(std::signbit(math::tanh(-0.0f)));
  EXPECT_EQ(math::tanh(kInf), 1.0f);
  EXPECT_TRUE(std::isnan(math::tanh(kNan)));
}

TEST(Math, ErfIsWithinItsBoundAndOdd) {
  const auto exact = [](double x) { return std::erf(x); };
  EXPECT_WITHIN(sweep(math::erf, exact, -kInf, kInf), 2.0);
  EXPECT_WITHIN(seam(math::erf, exact, 0.92f), 2.0);
  EXPECT_WITHIN(seam(math::erf, exact, 3.9f), 2.0);
  for (float x : {0.0f, 1e-42f, 1e-10f, 0.3f, 1.7f, 30.0f, kInf}) EXPECT_EQ(math::erf(-x), -math::erf(x));
  EXPECT_TRUE(std::signbit(math::erf(-0.0f)));
  EXPECT_EQ(math::erf(kInf), 1.0f);
  EXPECT_TRUE(std::isnan(math::erf(kNan)));
}

TEST(Math, TheSweepFindsAWrongConstant) {
  const auto wrong = [](float x) { return math::exp(x) * 1.000001f; };
  EXPECT_GT(sweep(
                wrong, [](double x) { return std::exp(x); }, -1.0f, 1.0f)
                .error,
            5.0);
}

}  // namespace
}  // namespace sluice::math_test
