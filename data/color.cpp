// Blends by tables of 256 values; hue through the hexagon of hue, saturation and value (Smith 1978).
#include "data/color.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

uint8_t grey(const uint8_t* rgb) {  // the weights in 1 / 65536
  return uint8_t((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

uint8_t blend(int from, int to, float factor) {
  return uint8_t(std::clamp(float(from) + factor * float(to - from), 0.0f, 255.0f));
}

/// Blends one value with every channel of every pixel.
void blend_with(int from, std::span<uint8_t> rgb, float factor) {
  std::array<uint8_t, 256> table{};
  for (int v = 0; v < 256; ++v) table[size_t(v)] = blend(from, v, factor);
  for (uint8_t& v : rgb) v = table[v];
}

struct Hsv {
  uint8_t h = 0, s = 0, v = 0;
};

// Which steps are float and which double decides the last bit, so the types are PIL's.
Hsv to_hsv(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int largest = std::max({r, g, b}), least = std::min({r, g, b});
  Hsv out{.v = uint8_t(largest)};
  if (largest == least) return out;
  const auto range = float(largest - least);
  const float from_r = float(largest - r) / range, from_g = float(largest - g) / range,
              from_b = float(largest - b) / range;
  float sixth = from_b - from_g;  // place on the hexagon, from -1 to 5
  if (r != largest)
    sixth = float(g == largest ? 2.0 + double(from_r) - double(from_b) : 4.0 + double(from_g) - double(from_r));
  const auto turn = float(std::fmod(double(sixth) / 6.0 + 1.0, 1.0));
  out.h = uint8_t(double(turn) * 255.0);
  out.s = uint8_t(double(range / float(largest)) * 255.0);
  return out;
}

void to_rgb(const Hsv& c, uint8_t* rgb) {
  if (c.s == 0) {
    std::fill_n(rgb, 3, c.v);
    return;
  }
  const double sixth = double(float(c.h)) * 6.0 / 255.0;
  const int side = int(sixth);  // 0 to 6
  const auto along = float(sixth - double(side));
  const auto saturation = double(float(double(c.s) / 255.0));
  const auto channel = [&](double share) { return uint8_t(std::round(double(c.v) * (1.0 - share))); };
  const uint8_t v = c.v, low = channel(saturation), falling = channel(saturation * double(along)),
                rising = channel(saturation * (1.0 - double(along)));
  const uint8_t sides[6][3] = {{v, rising, low},  {falling, v, low}, {low, v, rising},
                               {low, falling, v}, {rising, low, v},  {v, low, falling}};
  std::copy_n(sides[side % 6], 3, rgb);
}

}  // namespace

void adjust_brightness(std::span<uint8_t> rgb, float factor) { blend_with(0, rgb, factor); }

void adjust_contrast(std::span<uint8_t> rgb, float factor) {
  if (rgb.empty()) return;
  int64_t sum = 0;
  for (size_t i = 0; i < rgb.size(); i += 3) sum += grey(&rgb[i]);
  blend_with(int(std::floor(double(sum) / double(rgb.size() / 3) + 0.5)), rgb, factor);
}

void adjust_saturation(std::span<uint8_t> rgb, float factor) {
  for (size_t i = 0; i < rgb.size(); i += 3) {
    const int from = grey(&rgb[i]);
    for (size_t c = i; c < i + 3; ++c) rgb[c] = blend(from, rgb[c], factor);
  }
}

void adjust_hue(std::span<uint8_t> rgb, float turns) {
  const auto shift = unsigned(int(double(turns) * 255.0));  // towards zero; a sum of bytes wraps as the circle does
  for (size_t i = 0; i < rgb.size(); i += 3) {
    Hsv c = to_hsv(&rgb[i]);
    c.h = uint8_t(c.h + shift);
    to_rgb(c, &rgb[i]);
  }
}

void make_grey(std::span<uint8_t> rgb) {
  for (size_t i = 0; i < rgb.size(); i += 3) std::fill_n(&rgb[i], 3, grey(&rgb[i]));
}

void change_colors(const ColorChange& change, std::span<uint8_t> rgb) {
  if (change.jitter)
    for (const uint8_t step : change.order) {
      if (step == 0) adjust_brightness(rgb, change.brightness);
      if (step == 1) adjust_contrast(rgb, change.contrast);
      if (step == 2) adjust_saturation(rgb, change.saturation);
      if (step == 3) adjust_hue(rgb, change.hue);
    }
  if (change.grey) make_grey(rgb);
}

}  // namespace sluice
