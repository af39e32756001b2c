// Resizing against the triangle filter in double, and what PIL and torchvision make of sizes.
#include "data/resize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"
#include "tests/data/image_fixtures.h"

namespace sluice::resize_test {
namespace {

using test::gradient;
using test::noise;

/// Share of input x in output i: a triangle over the output's place, as wide as two outputs or two inputs, the larger.
double share(int64_t x, int64_t i, int64_t in, int64_t out) {
  const double scale = double(in) / double(out), reach = std::max(1.0, scale);
  return std::max(0.0, 1 - std::abs((double(x) + 0.5) - (double(i) + 0.5) * scale) / reach);
}

/// One output value, no rounding in between.
double reference(const RgbImage& image, const RgbImage& size, int64_t row, int64_t column, int64_t channel) {
  double sum = 0, weights = 0;
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x) {
      const double w = share(y, row, image.height, size.height) * share(x, column, image.width, size.width);
      sum += w * image.pixels[size_t((y * image.width + x) * 3 + channel)];
      weights += w;
    }
  return sum / weights;
}

TEST(Resize, IsATriangleThatWidensWithTheReduction) {
  for (const auto& [from_h, from_w, to_h, to_w] : std::vector<std::array<int64_t, 4>>{{64, 64, 32, 32},
                                                                                      {37, 61, 32, 32},
                                                                                      {5, 7, 11, 3},
                                                                                      {1, 1, 4, 4},
                                                                                      {9, 9, 1, 1},
                                                                                      {64, 8, 8, 64},
                                                                                      {3, 3, 3, 3}}) {
    SCOPED_TRACE(testing::Message() << from_h << "x" << from_w << " to " << to_h << "x" << to_w);
    const RgbImage image = noise(from_h, from_w, 7);
    const RgbImage got = resize(image, {to_h, 0, to_h}, {to_w, 0, to_w});
    ASSERT_EQ(int64_t(got.pixels.size()), to_h * to_w * 3);
    for (int64_t y = 0; y < to_h; ++y)
      for (int64_t x = 0; x < to_w; ++x)
        for (int64_t c = 0; c < 3; ++c)  // two roundings to bytes, the first of them weighed
          ASSERT_NEAR(got.pixels[size_t((y * to_w + x) * 3 + c)], reference(image, got, y, x, c), 1.01)
              << y << " " << x << " " << c;
  }
}

TEST(Resize, RoundsToBytesBetweenItsPasses) {
  // Columns: (0 + 1) / 2 and (1 + 1) / 2 round to 1 and 1; rows: the mean of those. Without the rounding: 0.75.
  const RgbImage image{.height = 2, .width = 2, .pixels = {0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
  EXPECT_EQ(resize(image, {1, 0, 1}, {1, 0, 1}).pixels, (std::vector<uint8_t>{1, 1, 1}));
  // 0 and 1 over the columns of one row: 0.5 rounds up; then 0 beside it: again up. In one rounding: 0.25, down.
  const RgbImage corner{.height = 2, .width = 2, .pixels = {0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}};
  EXPECT_EQ(resize(corner, {1, 0, 1}, {1, 0, 1}).pixels, (std::vector<uint8_t>{1, 1, 1}));
}

TEST(Resize, APartIsThePartOfTheWhole) {
  const RgbImage image = noise(40, 50, 1), whole = resize(image, {21, 0, 21}, {33, 0, 33});
  const RgbImage part = resize(image, {21, 5, 9}, {33, 30, 3});
  for (int64_t y = 0; y < 9; ++y)
    for (int64_t x = 0; x < 3 * 3; ++x)
      ASSERT_EQ(part.pixels[size_t(y * 9 + x)], whole.pixels[size_t((y + 5) * 99 + 90 + x)]);
}

TEST(Resize, ConstantsStayConstantToTheEnds) {
  for (const uint8_t value : std::vector<uint8_t>{0, 1, 128, 255}) {
    const RgbImage image{.height = 13, .width = 17, .pixels = std::vector<uint8_t>(13 * 17 * 3, value)};
    for (const uint8_t v : resize(image, {32, 0, 32}, {5, 0, 5}).pixels) ASSERT_EQ(v, value);
  }
}

TEST(Resize, RefusesAPartOutsideTheWhole) {
  const RgbImage image = gradient(4, 4);
  EXPECT_THROW(resize(image, {8, 0, 9}, {8, 0, 8}), ConfigError);
  EXPECT_THROW(resize(image, {8, 0, 8}, {8, 8, 1}), ConfigError);
  EXPECT_THROW(resize(image, {8, -1, 2}, {8, 0, 8}), ConfigError);
  EXPECT_THROW(resize(image, {0, 0, 0}, {8, 0, 8}), ConfigError);
}

TEST(FitSquare, LeavesTheRightSizeAlone) {
  const RgbImage image = noise(32, 32, 5);
  EXPECT_EQ(fit_square(image, 32).pixels, image.pixels);
}

TEST(FitSquare, ResizesTheShorterSideAndKeepsTheMiddleOfTheLonger) {
  const RgbImage wide = noise(40, 101, 5), tall = noise(101, 40, 5);
  // 32 * 101 / 40 = 80.8: 80 long; 48 too many: 24 before.
  EXPECT_EQ(fit_square(wide, 32).pixels, resize(wide, {32, 0, 32}, {80, 24, 32}).pixels);
  EXPECT_EQ(fit_square(tall, 32).pixels, resize(tall, {80, 24, 32}, {32, 0, 32}).pixels);
  // The shorter side fits already; 1 and 3 too many: 0.5 and 1.5 before, halves to even.
  const RgbImage one = noise(32, 33, 5), three = noise(32, 35, 5);
  EXPECT_EQ(fit_square(one, 32).pixels, resize(one, {32, 0, 32}, {33, 0, 32}).pixels);
  EXPECT_EQ(fit_square(three, 32).pixels, resize(three, {32, 0, 32}, {35, 2, 32}).pixels);
}

TEST(FitSquare, ALineOfPixelsNeedsNoMoreMemoryThanItsMiddle) {
  RgbImage line{.height = 1, .width = 1 << 22, .pixels = std::vector<uint8_t>(3 << 22, 9)};
  const RgbImage square = fit_square(line, 32);
  EXPECT_EQ(square.pixels, std::vector<uint8_t>(32 * 32 * 3, 9));
}

TEST(Resize, ASmallerSquareIsTheMiddleOfTheResizedImage) {
  for (const auto& [height, width] : std::vector<std::array<int64_t, 2>>{{20, 31}, {31, 20}, {16, 16}, {9, 40}}) {
    const RgbImage image = noise(height, width, 5), got = fit_square(image, 16, 13);
    const int64_t rows = 16 * height / std::min(height, width), columns = 16 * width / std::min(height, width);
    const auto first = [](int64_t n) { return int64_t(std::nearbyint(double(n - 13) / 2)); };
    const RgbImage whole = resize(image, {rows, 0, rows}, {columns, 0, columns});
    for (int64_t y = 0; y < 13; ++y)
      for (int64_t x = 0; x < 39; ++x)
        ASSERT_EQ(got.pixels[size_t(y * 39 + x)],
                  whole.pixels[size_t((y + first(rows)) * columns * 3 + first(columns) * 3 + x)]);
  }
  EXPECT_THROW(fit_square(noise(20, 20, 1), 8, 9), ConfigError);
}

}  // namespace
}  // namespace sluice::resize_test
