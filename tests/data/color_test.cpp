// Changes of colour against their formulas in double.
#include "data/color.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/data/image_fixtures.h"

namespace sluice::color_test {
namespace {

using Bytes = std::vector<uint8_t>;

/// Every corner, grey and mixture of a coarse grid, then noise.
Bytes colors() {
  Bytes all;
  for (int r = 0; r < 256; r += 51)
    for (int g = 0; g < 256; g += 51)
      for (int b = 0; b < 256; b += 51) all.insert(all.end(), {uint8_t(r), uint8_t(g), uint8_t(b)});
  const Bytes more = test::noise(50, 40, 11).pixels;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// 0.299, 0.587 and 0.114 to the nearest 65536th, which decides where a half is rounded to.
double grey_of(const uint8_t* p) { return std::floor((19595.0 * p[0] + 38470.0 * p[1] + 7471.0 * p[2]) / 65536 + 0.5); }
double blend(double a, double b, double factor) { return std::clamp(a + factor * (b - a), 0.0, 255.0); }

/// Fractions are cut off, so where a value in double is almost whole, float may stand on either side of it.
constexpr double kAlmost = 1e-4;

void expect_cut_off(const Bytes& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(got[i] == std::floor(expected[i] + kAlmost) || got[i] == std::floor(expected[i] - kAlmost))
        << "value " << i << " is " << int(got[i]) << ", expected " << expected[i];
}

constexpr float kFactors[] = {0.0f, 0.5f, 0.6f, 0.77f, 1.0f, 1.25f, 1.4f};

TEST(Color, BrightnessBlendsWithBlack) {
  for (const float factor : kFactors) {
    SCOPED_TRACE(factor);
    const Bytes before = colors();
    Bytes after = before;
    adjust_brightness(after, factor);
    std::vector<double> expected;
    for (const uint8_t v : before) expected.push_back(blend(0, v, double(factor)));
    expect_cut_off(after, expected);
  }
}

TEST(Color, ContrastBlendsWithTheRoundedMeanOfGrey) {
  for (const float factor : kFactors) {
    SCOPED_TRACE(factor);
    const Bytes before = colors();
    Bytes after = before;
    adjust_contrast(after, factor);
    double mean = 0;
    for (size_t i = 0; i < before.size(); i += 3) mean += grey_of(&before[i]) / double(before.size() / 3);
    std::vector<double> expected;
    for (const uint8_t v : before) expected.push_back(blend(std::floor(mean + 0.5), v, double(factor)));
    expect_cut_off(after, expected);
  }
  Bytes two{0, 0, 0, 5, 5, 5};  // a mean of 2.5 is 3
  adjust_contrast(two, 0);
  EXPECT_EQ(two, Bytes(6, 3));
  Bytes none;
  EXPECT_NO_THROW(adjust_contrast(none, 0.5f));
}

TEST(Color, SaturationBlendsWithThePixelsGrey) {
  for (const float factor : kFactors) {
    SCOPED_TRACE(factor);
    const Bytes before = colors();
    Bytes after = before;
    adjust_saturation(after, factor);
    std::vector<double> expected;
    for (size_t i = 0; i < before.size(); ++i)
      expected.push_back(blend(grey_of(&before[i - i % 3]), before[i], double(factor)));
    expect_cut_off(after, expected);
  }
}

TEST(Color, FactorOneChangesNothing) {
  for (const auto& change : {adjust_brightness, adjust_contrast, adjust_saturation}) {
    Bytes after = colors();
    change(after, 1);
    EXPECT_EQ(after, colors());
  }
}

TEST(Color, GreyIsTheWeightedSumInAllChannels) {
  const Bytes before = colors();
  Bytes after = before;
  make_grey(after);
  for (size_t i = 0; i < before.size(); ++i) ASSERT_EQ(after[i], grey_of(&before[i - i % 3]));
  Bytes primaries{255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
  make_grey(primaries);
  EXPECT_EQ(primaries, (Bytes{76, 76, 76, 150, 150, 150, 29, 29, 29, 255, 255, 255}));
}

/// Hue, saturation and value in 255ths, fractions cut off; then the hue turned; then back, rounded. The two nudges
/// stand for float's rounding before a fraction is cut off.
std::vector<double> turned(const uint8_t* p, int shift, double nudge_hue, double nudge_saturation) {
  const double r = p[0], g = p[1], b = p[2], v = std::max({r, g, b}), range = v - std::min({r, g, b});
  if (range == 0) return {v, v, v};
  const double place = v == r ? (g - b) / range : v == g ? 2 + (b - r) / range : 4 + (r - g) / range;
  const double hue = std::floor(std::fmod(place / 6 + 1, 1.0) * 255 + nudge_hue);
  const double s = std::floor(range / v * 255 + nudge_saturation);
  if (s == 0) return {v, v, v};
  const double sixth = std::fmod(hue + shift + 256, 256.0) * 6 / 255;
  const double f = sixth - std::floor(sixth), low = std::round(v * (1 - s / 255)),
               falling = std::round(v * (1 - s / 255 * f)), rising = std::round(v * (1 - s / 255 * (1 - f)));
  const std::vector<double> sides[6] = {{v, rising, low},  {falling, v, low}, {low, v, rising},
                                        {low, falling, v}, {rising, low, v},  {v, low, falling}};
  return sides[int(sixth) % 6];
}

TEST(Color, HueIsTurnedOnBytes) {
  for (const float turns : {-0.5f, -0.1f, -0.033f, 0.0f, 0.05f, 0.1f, 0.5f}) {
    SCOPED_TRACE(turns);
    const Bytes before = colors();
    Bytes after = before;
    adjust_hue(after, turns);
    for (size_t i = 0; i < before.size(); i += 3) {
      std::vector<std::vector<double>> candidates;
      for (const double hue : {-kAlmost, kAlmost})
        for (const double saturation : {-kAlmost, kAlmost})
          candidates.push_back(turned(&before[i], int(turns * 255), hue, saturation));
      const std::vector<double> got(after.begin() + std::ptrdiff_t(i), after.begin() + std::ptrdiff_t(i) + 3);
      ASSERT_THAT(candidates, testing::Contains(got)) << "pixel " << i / 3;
    }
  }
}

TEST(Color, AThirdOfTheCircleTurnsRedToGreenToBlue) {
  Bytes c{255, 0, 0, 0, 255, 0, 0, 0, 255, 90, 90, 90};
  adjust_hue(c, 1.0f / 3.0f + 1e-4f);
  EXPECT_EQ(c, (Bytes{0, 255, 0, 0, 0, 255, 255, 0, 0, 90, 90, 90}));
}

TEST(Color, AChangeAppliesItsStepsInItsOrder) {
  ColorChange change{.brightness = 1.3f, .contrast = 0.7f, .saturation = 1.2f, .hue = -0.07f, .jitter = true};
  std::sort(change.order.begin(), change.order.end());
  std::vector<Bytes> seen;
  do {
    Bytes expected = colors(), got = expected;
    for (const uint8_t step : change.order) {
      if (step == 0) adjust_brightness(expected, 1.3f);
      if (step == 1) adjust_contrast(expected, 0.7f);
      if (step == 2) adjust_saturation(expected, 1.2f);
      if (step == 3) adjust_hue(expected, -0.07f);
    }
    change_colors(change, got);
    EXPECT_EQ(got, expected);
    seen.push_back(got);
  } while (std::next_permutation(change.order.begin(), change.order.end()));
  EXPECT_EQ(seen.size(), 24u);
  EXPECT_NE(seen.front(), seen.back());  // the order matters
}

TEST(Color, GreyComesLastAndNothingIsDoneUnasked) {
  Bytes c = colors(), jittered = c;
  change_colors({.brightness = 0.5f}, c);
  EXPECT_EQ(c, colors());
  change_colors({.brightness = 0.5f, .jitter = true, .grey = true}, c);
  change_colors({.brightness = 0.5f, .jitter = true}, jittered);
  make_grey(jittered);
  EXPECT_EQ(c, jittered);
}

}  // namespace
}  // namespace sluice::color_test
