// Micro-batches of images: from memory or from where a source finds them, one after the other, then mixed.
#include <algorithm>
#include <cmath>

#include "data/augment.h"
#include "data/resize.h"

namespace sluice {
namespace {

constexpr double kLeastArea = 0.08, kWidest = 4.0 / 3;  // of RandomResizedCrop's windows
constexpr int kTries = 10;

RgbImage stored(const ImageDataset& d, int64_t image) {
  const auto at = d.pixels.begin() + image * d.image.numel();
  return {.height = d.image[0], .width = d.image[1], .pixels = {at, at + d.image.numel()}};
}

RgbImage resized_window(const ImageDataset& d, const RgbImage& image, Draws draws) {
  const Window w = draw_window(image.height, image.width, draws);
  RgbImage cut{.height = w.height, .width = w.width, .pixels = {}};
  for (int64_t y = w.top; y < w.top + w.height; ++y) {
    const auto row = image.pixels.begin() + (y * image.width + w.left) * 3;
    cut.pixels.insert(cut.pixels.end(), row, row + w.width * 3);
  }
  return resize(cut, {d.image[0], 0, d.image[0]}, {d.image[1], 0, d.image[1]});
}

/// One finished image.
void write_sample(const ImageDataset& d, const BatchDraw& draw, const ImageSource& source, int32_t sample, int view,
                  float* out) {
  const Augmentation& a = draw.augmentation;
  const Rng rng{.seed = draw.seed, .view = uint32_t(view)};
  const AugmentDraw choices = draw_augmentation(a, draw.seed, sample, draw.epoch, view);
  if (source || a.any_area) {
    RgbImage image = source ? source(sample) : stored(d, sample);
    if (a.any_area) image = resized_window(d, image, {rng, "image.area", sample, draw.epoch});
    write_image(d, image.pixels.data(), a, choices, out);
  } else {
    write_image(d, sample, a, choices, out);
  }
  if (a.paste) paste(d.image, draw_paste(d.image, {rng, "image.paste", sample, draw.epoch}), out);
}

/// Each sample with the one behind it, so only the first is needed after it was changed.
void mix_samples(const ImageDataset& d, const BatchDraw& draw, std::span<const Ref> out) {
  const MixingOptions& how = draw.augmentation.mixing;
  const size_t count = draw.samples.size();
  float* images = out[0].as<float>();
  const std::vector<float> first(images, images + (count == 0 ? 0 : d.image.numel()));
  for (size_t i = 0; i < count; ++i) {
    const size_t other = (i + 1) % count;
    const int32_t sample = draw.samples[i];
    const MixDraw m = draw_mixing(how, d.image, {Rng{.seed = draw.seed}, "image.mix", sample, draw.epoch});
    float* own = images + int64_t(i) * d.image.numel();
    mix(how, d.image, m, other == 0 ? first.data() : own + d.image.numel(), own);
    out[2].as<int32_t>()[i] = d.labels[size_t(draw.samples[other])];
    out[3].as<float>()[i] = m.share;
  }
}

}  // namespace

Window draw_window(int64_t height, int64_t width, Draws draws) {
  const auto whole = [](double side) { return int64_t(std::nearbyint(side)); };
  for (int i = 0; i < kTries; ++i) {
    const double area = double(height * width) * draws.between(kLeastArea, 1);
    const double aspect = std::exp(draws.between(-std::log(kWidest), std::log(kWidest)));
    const int64_t w = whole(std::sqrt(area * aspect)), h = whole(std::sqrt(area / aspect));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    const int64_t top = draws.below(int(height - h + 1)), left = draws.below(int(width - w + 1));
    return {top, left, h, w};
  }
  // None fits: the largest window in the middle whose sides do.
  const int64_t w = std::min(width, whole(double(height) * kWidest)),
                h = std::min(height, whole(double(width) * kWidest));
  return {(height - h) / 2, (width - w) / 2, h, w};
}

std::vector<BatchPort> ImageDataset::ports(const BatchDraw& draw) const {
  const int64_t count = int64_t(draw.samples.size()) * draw.augmentation.views;
  Shape images{count};
  for (int i = 0; i < 3; ++i) images.push_back(image[i]);
  std::vector<BatchPort> ports{{"images", images, DType::kF32}, {"labels", {count}, DType::kI32}};
  if (draw.augmentation.mixing.how == Mixing::kNone) return ports;
  ports.push_back({"labels2", {count}, DType::kI32});
  ports.push_back({"share", {count}, DType::kF32});
  return ports;
}

void ImageDataset::fill(const BatchDraw& draw, std::span<const Ref> out) const { fill_images(*this, draw, {}, out); }

void fill_images(const ImageDataset& d, const BatchDraw& draw, const ImageSource& source, std::span<const Ref> out) {
  float* images = out[0].as<float>();
  int32_t* to_labels = out[1].as<int32_t>();
  for (int view = 0; view < draw.augmentation.views; ++view)
    for (const int32_t sample : draw.samples) {
      write_sample(d, draw, source, sample, view, images);
      images += d.image.numel();
      *to_labels++ = d.labels[size_t(sample)];
    }
  if (draw.augmentation.mixing.how != Mixing::kNone) mix_samples(d, draw, out);
}

}  // namespace sluice
