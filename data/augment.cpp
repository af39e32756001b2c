// Crop, flip and normalise in one pass over an image's rows; where bytes change in between, a pass for each change.
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

/// Where a window lies against its image.
struct Place {
  int64_t down = 0, right = 0;
  bool mirror = false;
};

/// The window of one image [H, W, C], mirrored or not, through `map_of(channel)`.
template <class MapOf, class Out>
void cut_window(const Shape& image, const uint8_t* pixels, const Place& at, MapOf map_of, Out* out) {
  const int64_t height = image[0], width = image[1], channels = image[2], right = at.right;
  // Columns of the window that lie on the image, before mirroring.
  const int64_t begin = std::clamp<int64_t>(-right, 0, width), end = std::clamp<int64_t>(width - right, begin, width);
  for (int64_t y = 0; y < height; ++y) {
    const int64_t source_y = y + at.down;
    const bool black = source_y < 0 || source_y >= height;
    for (int64_t c = 0; c < channels; ++c) {
      const auto map = map_of(c);
      Out* row = out + y * width * channels + c;
      if (black) {
        write_row(nullptr, 1, width, channels, map, row);
        continue;
      }
      const uint8_t* source = pixels + source_y * width * channels + c;
      const int64_t first = at.mirror ? width - end : begin;  // where the image's columns start in the output
      write_row(nullptr, 1, first, channels, map, row);
      const int64_t from = right + (at.mirror ? end - 1 : begin);
      write_row(end > begin ? source + from * channels : nullptr, at.mirror ? -1 : 1, end - begin, channels, map,
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
  const MixingOptions& m = a.mixing;
  if (a.crop_padding < 0 || !is_probability(a.jitter) || !is_probability(a.grey) || a.views < 1 || a.views > 2 ||
      a.crops < 1 || a.crops > kMaxCrops)
    throw ConfigError(str("augmentation: crop padding ", a.crop_padding, ", crops ", a.crops, ", jitter ", a.jitter,
                          ", grey ", a.grey, ", views ", a.views,
                          ", expected a padding of at least 0, probabilities, 1 or 2 crops and 1 or 2 views"));
  if (!is_probability(m.probability) || !(m.beta > 0 && m.beta <= 100))
    throw ConfigError(str("augmentation: mixing with probability ", m.probability, " and Beta(", m.beta, ", ", m.beta,
                          "), expected a probability and a number in (0, 100]"));
  if (m.how != Mixing::kNone && a.views > 1)
    throw ConfigError("augmentation: mixing of two views of an image, expected one view");
  if ((a.any_color() || a.any_area || a.policy != AutoAugment::kNone) && d.image[2] != 3)
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
  if (a.crops > 1) {
    Draws again(rng, "image.again", image, epoch);
    d.again_top = again.below(places);
    d.again_left = again.below(places);
  }
  d.policy = draw_policy(a.policy, a.rotate_both_ways, {rng, "image.policy", image, epoch});
  return d;
}

void write_image(const ImageDataset& d, const uint8_t* pixels, const Augmentation& a, const AugmentDraw& draw,
                 float* out) {
  const auto normalised = [&d](int64_t channel) { return normaliser(d, channel); };
  const auto unchanged = [](int64_t) { return Unchanged{}; };
  const Place first{draw.top - a.crop_padding, draw.left - a.crop_padding, draw.mirror};
  if (!draw.color.any() && a.crops == 1 && draw.policy.count == 0)
    return cut_window(d.image, pixels, first, normalised, out);
  // Colours are changed in bytes, as published codes do.
  RgbImage image{.height = d.image[0], .width = d.image[1], .pixels = {}};
  image.pixels.resize(size_t(d.image.numel()));
  cut_window(d.image, pixels, first, unchanged, image.pixels.data());
  if (a.crops > 1) {
    const std::vector<uint8_t> before = image.pixels;
    cut_window(d.image, before.data(), {draw.again_top - a.crop_padding, draw.again_left - a.crop_padding}, unchanged,
               image.pixels.data());
  }
  if (draw.color.any()) change_colors(draw.color, image.pixels);
  for (int i = 0; i < draw.policy.count; ++i)
    apply(draw.policy.changes[size_t(i)].op, draw.policy.changes[size_t(i)].amount, image);
  cut_window(d.image, image.pixels.data(), {}, normalised, out);
}

void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out) {
  write_image(d, d.pixels.data() + image * d.image.numel(), a, draw, out);
}

}  // namespace sluice
