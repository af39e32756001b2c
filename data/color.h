// Changes of colour of 8-bit RGB images, in place: what torchvision's transforms do to PIL images, rounding included.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace sluice {

// `rgb` is [pixels, 3] in all of them. A blend is a + factor (b - a), clipped to [0, 255], its fraction cut off. The
// grey value of a pixel is 0.299 R + 0.587 G + 0.114 B, the weights in 65536ths, rounded.

/// Blends black with the image: factor 0 is black, 1 changes nothing.
void adjust_brightness(std::span<uint8_t> rgb, float factor);
/// Blends the image's rounded mean grey value with the image.
void adjust_contrast(std::span<uint8_t> rgb, float factor);
/// Blends each pixel's grey value with the pixel.
void adjust_saturation(std::span<uint8_t> rgb, float factor);
/// Turns the hue by `turns` of the circle, in steps of 1/255; the way through 8-bit hue, saturation and value rounds.
void adjust_hue(std::span<uint8_t> rgb, float turns);
/// Each pixel's grey value in all three channels.
void make_grey(std::span<uint8_t> rgb);

/// What is done to the colours of one image.
struct ColorChange {
  /// Positions of brightness, contrast, saturation and hue (0 to 3) in the order in which they are applied.
  std::array<uint8_t, 4> order{0, 1, 2, 3};
  float brightness = 1, contrast = 1, saturation = 1, hue = 0;
  bool jitter = false;  // apply the four above
  bool grey = false;    // then make it grey

  bool any() const { return jitter || grey; }
};
void change_colors(const ColorChange& change, std::span<uint8_t> rgb);

}  // namespace sluice
