// Crop, flip and normalise in one pass over an image's rows.
#include "data/augment.h"

#include <algorithm>

namespace sluice {
namespace {

/// Uniform in [0, n), by the high word of a product.
int below(uint32_t word, int n) { return int(uint64_t(word) * uint64_t(n) >> 32); }

/// pixel -> pixel * scale + shift, per channel.
struct Normaliser {
  float scale, shift;
};
Normaliser normaliser(const ImageDataset& d, int64_t channel) {
  const float s = d.stddev[size_t(channel)];
  return {1.0f / (255.0f * s), -d.mean[size_t(channel)] / s};
}

/// Pixels [0, count) of one row and channel; `from` null means black, `step` -1 reads from right to left.
void write_row(const uint8_t* from, int64_t step, int64_t count, int64_t channels, Normaliser n, float* out) {
  if (from == nullptr) {
    for (int64_t x = 0; x < count; ++x) out[x * channels] = n.shift;
  } else {
    for (int64_t x = 0; x < count; ++x) out[x * channels] = float(from[x * step * channels]) * n.scale + n.shift;
  }
}

}  // namespace

AugmentDraw draw_augmentation(const Augmentation& a, uint64_t seed, int64_t image, int64_t epoch) {
  if (!a.any()) return {.top = a.crop_padding, .left = a.crop_padding};
  const PhiloxKey key = Rng{.seed = seed}.key(RngPurpose::kAugment, path_hash("image"));
  const Philox4 words = philox(key, uint64_t(image), uint64_t(epoch));
  const int places = 2 * a.crop_padding + 1;
  return {.top = below(words.v[0], places), .left = below(words.v[1], places), .mirror = a.flip && (words.v[2] >> 31)};
}

void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out) {
  const int64_t height = d.image[0], width = d.image[1], channels = d.image[2];
  const uint8_t* pixels = d.pixels.data() + image * d.image.numel();
  const int64_t down = draw.top - a.crop_padding, right = draw.left - a.crop_padding;  // window against the image
  // Columns of the window that lie on the image, before mirroring.
  const int64_t begin = std::clamp<int64_t>(-right, 0, width), end = std::clamp<int64_t>(width - right, begin, width);
  for (int64_t y = 0; y < height; ++y) {
    const int64_t source_y = y + down;
    const bool black = source_y < 0 || source_y >= height;
    for (int64_t c = 0; c < channels; ++c) {
      const Normaliser n = normaliser(d, c);
      float* row = out + y * width * channels + c;
      if (black) {
        write_row(nullptr, 1, width, channels, n, row);
        continue;
      }
      const uint8_t* source = pixels + source_y * width * channels + c;
      const int64_t first = draw.mirror ? width - end : begin;  // where the image's columns start in the output
      write_row(nullptr, 1, first, channels, n, row);
      const int64_t from = right + (draw.mirror ? end - 1 : begin);
      write_row(end > begin ? source + from * channels : nullptr, draw.mirror ? -1 : 1, end - begin, channels, n,
                row + first * channels);
      const int64_t last = first + (end - begin);
      write_row(nullptr, 1, width - last, channels, n, row + last * channels);
    }
  }
}

void ImageDataset::expect_sound(const std::string& where, const Augmentation& a) const {
  check(*this, where);
  if (a.crop_padding < 0) throw ConfigError(str("crop padding ", a.crop_padding, ", expected at least 0"));
}

std::vector<BatchPort> ImageDataset::ports(const BatchDraw& draw) const {
  const auto count = int64_t(draw.samples.size());
  return {{.name = "images", .shape = {count, image[0], image[1], image[2]}, .dtype = DType::kF32},
          {.name = "labels", .shape = {count}, .dtype = DType::kI32}};
}

void ImageDataset::fill(const BatchDraw& draw, std::span<const Ref> out) const {
  const Augmentation& a = draw.augmentation;
  float* images = out[0].as<float>();
  int32_t* to_labels = out[1].as<int32_t>();
  for (size_t i = 0; i < draw.samples.size(); ++i) {
    const int32_t sample = draw.samples[i];
    write_image(*this, sample, a, draw_augmentation(a, draw.seed, sample, draw.epoch), images);
    images += image.numel();
    to_labels[i] = labels[size_t(sample)];
  }
}

}  // namespace sluice
