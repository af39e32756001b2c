// Two passes, each with its weights made once for all lines.
#include "data/resize.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr int kFraction = 22;  // bits behind the point of a weight: a weighted sum of bytes fits into 31

/// The inputs that make one output, and their weights.
struct Taps {
  int64_t first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> taps(int64_t in, const ResizedAxis& out) {
  const double scale = double(in) / double(out.size), reach = std::max(scale, 1.0);
  std::vector<Taps> all;
  for (int64_t i = out.first; i < out.first + out.count; ++i) {
    const double centre = (double(i) + 0.5) * scale;
    Taps t{.first = std::max<int64_t>(0, int64_t(std::floor(centre - reach + 0.5))), .weights = {}};
    const int64_t end = std::min(in, int64_t(std::floor(centre + reach + 0.5)));
    std::vector<double> shares;
    double sum = 0;
    for (int64_t x = t.first; x < end; ++x) {
      const double away = std::abs(double(x) - centre + 0.5) * (1.0 / reach);
      shares.push_back(std::max(0.0, 1.0 - away));
      sum += shares.back();
    }
    for (const double share : shares)
      t.weights.push_back(int32_t(std::floor(share / sum * double(1 << kFraction) + 0.5)));
    all.push_back(std::move(t));
  }
  return all;
}

/// The weighted sum of bytes that lie `stride` apart.
uint8_t weigh(const uint8_t* from, int64_t stride, const Taps& t) {
  int32_t sum = 1 << (kFraction - 1);
  for (const int32_t weight : t.weights) {
    sum += *from * weight;
    from += stride;
  }
  return uint8_t(std::min(sum >> kFraction, 255));
}

void expect_within(const ResizedAxis& a) {
  if (a.size < 1 || a.first < 0 || a.count < 1 || a.first > a.size - a.count)
    throw ConfigError(str("resize: ", a.count, " pixels from ", a.first, " of ", a.size, ", expected a part of them"));
}

}  // namespace

RgbImage resize(const RgbImage& image, const ResizedAxis& rows, const ResizedAxis& columns) {
  expect_within(rows);
  expect_within(columns);
  const std::vector<Taps> across = taps(image.width, columns), down = taps(image.height, rows);
  // Only the rows that the second pass reads.
  const int64_t top = down.front().first, bottom = down.back().first + int64_t(down.back().weights.size());
  const int64_t line = columns.count * 3;
  std::vector<uint8_t> narrow;
  narrow.reserve(size_t((bottom - top) * line));
  for (int64_t y = top; y < bottom; ++y)
    for (const Taps& t : across)
      for (int64_t c = 0; c < 3; ++c)
        narrow.push_back(weigh(image.pixels.data() + (y * image.width + t.first) * 3 + c, 3, t));
  RgbImage out{.height = rows.count, .width = columns.count, .pixels = {}};
  out.pixels.reserve(size_t(rows.count * line));
  for (const Taps& t : down)
    for (int64_t x = 0; x < line; ++x) out.pixels.push_back(weigh(narrow.data() + (t.first - top) * line + x, line, t));
  return out;
}

RgbImage fit_square(const RgbImage& image, int64_t side) { return fit_square(image, side, side); }

RgbImage fit_square(const RgbImage& image, int64_t shorter, int64_t side) {
  if (image.height == side && image.width == side && shorter == side) return image;
  const auto axis = [&](int64_t from) {
    const int64_t length = shorter * from / std::min(image.height, image.width);
    const auto middle = int64_t(std::nearbyint(double(length - side) / 2.0));  // halves to even, as Python rounds
    return ResizedAxis{.size = length, .first = middle, .count = side};
  };
  return resize(image, axis(image.height), axis(image.width));
}

}  // namespace sluice
