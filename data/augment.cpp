// Crop, flip and normalise in one pass over an image's rows; where colours change, three.
#include "data/augment.h"

#include <algorithm>

namespace sluice {
namespace {

/// Uniform in [0, n), by the high word of a product.
int below(uint32_t word, int n) { return int(uint64_t(word) * uint64_t(n) >> 32); }

/// pixel -> pixel * scale + shift.
struct Normaliser {
  float scale, shift;
  float operator()(uint8_t pixel) const { return float(pixel) * scale + shift; }
};
Normaliser normaliser(const ImageDataset& d, int64_t channel) {
  const float s = d.stddev[size_t(channel)];
  return {1.0f / (255.0f * s), -d.mean[size_t(channel)] / s};
}

struct Unchanged {
  uint8_t operator()(uint8_t pixel) const { return pixel; }
};

/// Pixels [0, count) of one row and channel; `from` null means black, `step` -1 reads from right to left.
template <class Map, class Out>
void write_row(const uint8_t* from, int64_t step, int64_t count, int64_t channels, Map map, Out* out) {
  if (from == nullptr) {
    for (int64_t x = 0; x < count; ++x) out[x * channels] = map(0);
  } else {
    for (int64_t x = 0; x < count; ++x) out[x * channels] = map(from[x * step * channels]);
  }
}

/// The window of one image, mirrored or not, through `map_of(channel)`.
template <class MapOf, class Out>
void cut_window(const ImageDataset& d, int64_t image, int padding, const AugmentDraw& draw, MapOf map_of, Out* out) {
  const int64_t height = d.image[0], width = d.image[1], channels = d.image[2];
  const uint8_t* pixels = d.pixels.data() + image * d.image.numel();
  const int64_t down = draw.top - padding, right = draw.left - padding;  // window against the image
  // Columns of the window that lie on the image, before mirroring.
  const int64_t begin = std::clamp<int64_t>(-right, 0, width), end = std::clamp<int64_t>(width - right, begin, width);
  for (int64_t y = 0; y < height; ++y) {
    const int64_t source_y = y + down;
    const bool black = source_y < 0 || source_y >= height;
    for (int64_t c = 0; c < channels; ++c) {
      const auto map = map_of(c);
      Out* row = out + y * width * channels + c;
      if (black) {
        write_row(nullptr, 1, width, channels, map, row);
        continue;
      }
      const uint8_t* source = pixels + source_y * width * channels + c;
      const int64_t first = draw.mirror ? width - end : begin;  // where the image's columns start in the output
      write_row(nullptr, 1, first, channels, map, row);
      const int64_t from = right + (draw.mirror ? end - 1 : begin);
      write_row(end > begin ? source + from * channels : nullptr, draw.mirror ? -1 : 1, end - begin, channels, map,
                row + first * channels);
      const int64_t last = first + (end - begin);
      write_row(nullptr, 1, width - last, channels, map, row + last * channels);
    }
  }
}

bool is_probability(float p) { return p >= 0.0f && p <= 1.0f; }

ColorChange draw_color(const Augmentation& a, const Rng& rng, int64_t image, int64_t epoch) {
  const auto words = [&](const char* path) {
    return philox(rng.key(RngPurpose::kAugment, path_hash(path)), uint64_t(image), uint64_t(epoch));
  };
  const Philox4 choice = words("image.choice"), amount = words("image.amount");
  ColorChange c;
  c.jitter = uniform(choice.v[0]) < a.jitter;
  c.grey = uniform(choice.v[1]) < a.grey;
  int permutation = below(choice.v[2], 24);
  for (int i = 3; i > 0; permutation /= i + 1, --i)
    std::swap(c.order[size_t(i)], c.order[size_t(permutation % (i + 1))]);
  c.brightness = 0.6f + 0.8f * uniform(amount.v[0]);
  c.contrast = 0.6f + 0.8f * uniform(amount.v[1]);
  c.saturation = 0.6f + 0.8f * uniform(amount.v[2]);
  c.hue = -0.1f + 0.2f * uniform(amount.v[3]);
  return c;
}

}  // namespace

void check(const Augmentation& a, const ImageDataset& d) {
  if (a.crop_padding < 0 || !is_probability(a.jitter) || !is_probability(a.grey) || a.views < 1 || a.views > 2)
    throw ConfigError(str("augmentation: crop padding ", a.crop_padding, ", jitter ", a.jitter, ", grey ", a.grey,
                          ", views ", a.views, ", expected a padding of at least 0, probabilities and 1 or 2 views"));
  if (a.any_color() && d.image[2] != 3)
    throw ConfigError(str("augmentation: colours of images with ", d.image[2], " channels, expected 3"));
}

void ImageDataset::expect_fits(const Augmentation& augmentation) const { check(augmentation, *this); }

AugmentDraw draw_augmentation(const Augmentation& a, uint64_t seed, int64_t image, int64_t epoch, int view) {
  if (!a.any()) return {.top = a.crop_padding, .left = a.crop_padding};
  const Rng rng{.seed = seed, .view = uint32_t(view)};
  const Philox4 words = philox(rng.key(RngPurpose::kAugment, path_hash("image")), uint64_t(image), uint64_t(epoch));
  const int places = 2 * a.crop_padding + 1;
  AugmentDraw d{
      .top = below(words.v[0], places), .left = below(words.v[1], places), .mirror = a.flip && (words.v[2] >> 31)};
  if (a.any_color() && view == a.views - 1) d.color = draw_color(a, rng, image, epoch);
  return d;
}

void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out) {
  const auto normalised = [&d](int64_t channel) { return normaliser(d, channel); };
  if (!draw.color.any()) return cut_window(d, image, a.crop_padding, draw, normalised, out);
  std::vector<uint8_t> rgb(size_t(d.image.numel()), 0);  // colours are changed in bytes, as published codes do
  cut_window(
      d, image, a.crop_padding, draw, [](int64_t) { return Unchanged{}; }, rgb.data());
  change_colors(draw.color, rgb);
  for (int64_t c = 0; c < 3; ++c) write_row(rgb.data() + c, 1, int64_t(rgb.size()) / 3, 3, normalised(c), out + c);
}

std::vector<BatchPort> ImageDataset::ports(const BatchDraw& draw) const {
  const int64_t count = int64_t(draw.samples.size()) * draw.augmentation.views;
  Shape images{count};
  for (int i = 0; i < 3; ++i) images.push_back(image[i]);
  return {{"images", images, DType::kF32}, {"labels", {count}, DType::kI32}};
}

void ImageDataset::fill(const BatchDraw& draw, std::span<const Ref> out) const {
  const Augmentation& a = draw.augmentation;
  float* images = out[0].as<float>();
  int32_t* to_labels = out[1].as<int32_t>();
  for (int view = 0; view < a.views; ++view)
    for (const int32_t sample : draw.samples) {
      write_image(*this, sample, a, draw_augmentation(a, draw.seed, sample, draw.epoch, view), images);
      images += image.numel();
      *to_labels++ = labels[size_t(sample)];
    }
}

}  // namespace sluice
