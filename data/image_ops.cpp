// PIL's arithmetic, step by step, since the last bit depends on it: 16.16 fixed point for the nearest pixel, doubles
// for bicubic.
#include "data/image_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/color.h"

namespace sluice {
namespace {

constexpr uint8_t kOutside = 128;
constexpr double kDegree = 3.14159265358979323846 / 180;

/// Where an output's pixel comes from: column a x + b y + c, row d x + e y + f, of pixels' middles.
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
};

RgbImage filled_like(const RgbImage& image) {
  return {.height = image.height, .width = image.width, .pixels = std::vector<uint8_t>(image.pixels.size(), kOutside)};
}

void copy_pixel(const RgbImage& from, int64_t row, int64_t column, uint8_t* to) {
  if (row < 0 || row >= from.height || column < 0 || column >= from.width) return;
  std::copy_n(from.pixels.data() + (row * from.width + column) * 3, 3, to);
}

/// Whole columns and rows.
RgbImage translate(const RgbImage& image, double columns, double rows) {
  const auto whole = [](double v) { return v < 0.0 ? int64_t{-1} : int64_t(v); };
  RgbImage out = filled_like(image);
  uint8_t* to = out.pixels.data();
  double from_row = rows + 0.5;
  for (int64_t y = 0; y < image.height; ++y, from_row += 1.0) {
    double from_column = columns + 0.5;
    for (int64_t x = 0; x < image.width; ++x, from_column += 1.0, to += 3)
      copy_pixel(image, whole(from_row), whole(from_column), to);
  }
  return out;
}

RgbImage nearest(const RgbImage& image, const Affine& m) {
  const auto fixed = [](double v) { return int(std::floor(v * 65536.0 + 0.5)); };
  const int along_x = fixed(m.a), along_y = fixed(m.b), down_x = fixed(m.d), down_y = fixed(m.e);
  int row_x = fixed(m.c + m.a * 0.5 + m.b * 0.5), row_y = fixed(m.f + m.d * 0.5 + m.e * 0.5);
  RgbImage out = filled_like(image);
  uint8_t* to = out.pixels.data();
  for (int64_t y = 0; y < image.height; ++y, row_x += along_y, row_y += down_y) {
    int from_x = row_x, from_y = row_y;
    for (int64_t x = 0; x < image.width; ++x, from_x += along_x, from_y += down_x, to += 3)
      copy_pixel(image, from_y >> 16, from_x >> 16, to);
  }
  return out;
}

RgbImage rotate(const RgbImage& image, double degrees) {
  const double angle = -degrees * kDegree, cosine = std::cos(angle), sine = std::sin(angle);
  const double x = double(image.width) / 2, y = double(image.height) / 2;
  return nearest(image, {.a = cosine,
                         .b = sine,
                         .c = cosine * -x + sine * -y + x,
                         .d = -sine,
                         .e = cosine,
                         .f = -sine * -x + cosine * -y + y});
}

/// The cubic through four neighbours of which the middle two stand at 0 and 1.
double cubic(const std::array<double, 4>& v, double at) {
  const double p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + at * (p2 + at * (p3 + at * p4));
}

/// The value at a place within the image. Columns outside repeat the border's; rows outside repeat what the row above
/// gave, and the first is clamped.
uint8_t bicubic_value(const RgbImage& image, double x, double y, int64_t channel) {
  const auto column = int64_t(std::floor(x)), row = int64_t(std::floor(y));
  std::array<double, 4> lines{};
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t at = row - 1 + i;
    if (i > 0 && (at < 0 || at >= image.height)) {
      lines[size_t(i)] = lines[size_t(i - 1)];
      continue;
    }
    const uint8_t* line = image.pixels.data() + std::clamp<int64_t>(at, 0, image.height - 1) * image.width * 3;
    std::array<double, 4> v{};
    for (int64_t k = 0; k < 4; ++k)
      v[size_t(k)] = double(line[std::clamp<int64_t>(column - 1 + k, 0, image.width - 1) * 3 + channel]);
    lines[size_t(i)] = cubic(v, x - double(column));
  }
  return uint8_t(std::clamp(cubic(lines, y - double(row)), 0.0, 255.0));
}

RgbImage bicubic(const RgbImage& image, const Affine& m) {
  RgbImage out = filled_like(image);
  uint8_t* to = out.pixels.data();
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x, to += 3) {
      const double middle_x = double(x) + 0.5, middle_y = double(y) + 0.5;
      const double from_x = m.a * middle_x + m.b * middle_y + m.c, from_y = m.d * middle_x + m.e * middle_y + m.f;
      if (from_x < 0.0 || from_x >= double(image.width) || from_y < 0.0 || from_y >= double(image.height)) continue;
      for (int64_t c = 0; c < 3; ++c) to[c] = bicubic_value(image, from_x - 0.5, from_y - 0.5, c);
    }
  return out;
}

void adjust_sharpness(RgbImage& image, float factor) {
  const RgbImage from = image;
  const int64_t line = image.width * 3;
  for (int64_t y = 1; y + 1 < image.height; ++y)
    for (int64_t i = 3; i < line - 3; ++i) {
      const uint8_t* at = from.pixels.data() + y * line + i;
      int sum = 4 * *at;  // and once more below
      for (const int64_t row : {-line, int64_t{0}, line}) sum += at[row - 3] + at[row] + at[row + 3];
      const int smooth = (2 * sum + 13) / 26;  // sum / 13, rounded
      image.pixels[size_t(y * line + i)] =
          uint8_t(std::clamp(float(smooth) + factor * float(int(*at) - smooth), 0.0f, 255.0f));
    }
}

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

template <class F>
Table table_of(F&& f) {
  Table t{};
  for (int v = 0; v < 256; ++v) t[size_t(v)] = uint8_t(std::clamp(int(f(v)), 0, 255));
  return t;
}
void look_up(RgbImage& image, const Table& table) {
  for (uint8_t& v : image.pixels) v = table[v];
}
/// Each channel through a table made of its histogram.
template <class F>
void look_up_by_histogram(RgbImage& image, F&& table_for) {
  for (size_t c = 0; c < 3; ++c) {
    Histogram count{};
    for (size_t i = c; i < image.pixels.size(); i += 3) ++count[image.pixels[i]];
    const Table table = table_for(count);
    for (size_t i = c; i < image.pixels.size(); i += 3) image.pixels[i] = table[image.pixels[i]];
  }
}

Table spread(const Histogram& count) {
  const auto filled = [](int64_t n) { return n > 0; };
  const auto low = int(std::find_if(count.begin(), count.end(), filled) - count.begin());
  const int high = 255 - int(std::find_if(count.rbegin(), count.rend(), filled) - count.rbegin());
  if (high <= low) return table_of([](int v) { return v; });
  const double scale = 255.0 / double(high - low), offset = -double(low) * scale;
  return table_of([=](int v) { return double(v) * scale + offset; });
}

Table equalized(const Histogram& count) {
  int64_t total = 0, last = 0;
  for (const int64_t n : count) {
    total += n;
    if (n > 0) last = n;
  }
  const int64_t step = (total - last) / 255;
  if (step == 0) return table_of([](int v) { return v; });
  int64_t before = step / 2;
  return table_of([&](int v) { return std::exchange(before, before + count[size_t(v)]) / step; });
}

}  // namespace

void apply(ImageOp op, double amount, RgbImage& image) {
  const auto factor = float(1.0 + amount);
  switch (op) {
    case ImageOp::kShearX:
      image = bicubic(image, {.b = amount});
      return;
    case ImageOp::kShearY:
      image = bicubic(image, {.d = amount});
      return;
    case ImageOp::kTranslateX:
      image = translate(image, amount * double(image.width), 0);
      return;
    case ImageOp::kTranslateY:
      image = translate(image, 0, amount * double(image.height));
      return;
    case ImageOp::kRotate:
      image = rotate(image, amount);
      return;
    case ImageOp::kColor:
      adjust_saturation(image.pixels, factor);
      return;
    case ImageOp::kContrast:
      adjust_contrast(image.pixels, factor);
      return;
    case ImageOp::kSharpness:
      adjust_sharpness(image, factor);
      return;
    case ImageOp::kBrightness:
      adjust_brightness(image.pixels, factor);
      return;
    case ImageOp::kAutoContrast:
      look_up_by_histogram(image, spread);
      return;
    case ImageOp::kEqualize:
      look_up_by_histogram(image, equalized);
      return;
    case ImageOp::kPosterize:
      look_up(image, table_of([=](int v) { return v & ~((1 << (8 - int(amount))) - 1); }));
      return;
    case ImageOp::kSolarize:
      look_up(image, table_of([=](int v) { return v < amount ? v : 255 - v; }));
      return;
    case ImageOp::kInvert:
      look_up(image, table_of([](int v) { return 255 - v; }));
      return;
  }
}

}  // namespace sluice
