// From stored bytes to what a model is fed: random windows, flips, colours, AutoAugment, then normalised floats; and
// samples of a micro-batch mixed with each other.
#pragma once

#include <functional>
#include <span>

#include "data/auto_augment.h"
#include "data/color.h"
#include "data/dataset.h"
#include "data/mixing.h"

namespace sluice {

/// Which random changes training images get, in this order. Those of colour are torchvision's; they, AutoAugment's and
/// `any_area` need RGB images.
struct Augmentation {
  /// A window of 8 to 100 % of the image's area, its sides 3:4 to 4:3, is resized to the image's size: torchvision's
  /// RandomResizedCrop.
  bool any_area = false;
  int crop_padding = 0;  // black pixels put around an image before a window of its own size is cut out; 0: no crop
  int crops = 1;         // how often that is done, each time from what the time before gave
  bool flip = false;     // left and right swapped for every second image
  /// Probability of brightness, contrast and saturation times U[0.6, 1.4) and hue plus U[-0.1, 0.1) of the circle, in
  /// random order; then probability of grey.
  float jitter = 0, grey = 0;
  AutoAugment policy = AutoAugment::kNone;
  bool rotate_both_ways = true;  // AutoAugment's rotations; false: counter-clockwise only
  bool paste = false;            // a window of the image, mirrored or not, is blended into another place of it
  /// 2: every image twice with choices of its own, all first views before all second ones; only second views change
  /// their colours. 1: one view, with all changes.
  int views = 1;
  MixingOptions mixing{};  // of finished images with each other

  bool any() const {
    return any_area || crop_padding > 0 || flip || any_color() || policy != AutoAugment::kNone || paste || views > 1;
  }
  bool any_color() const { return jitter > 0 || grey > 0; }
};

/// The recipe of contrastive learning on small images, which associated learning also uses: one view or two.
inline Augmentation strong_augmentation(int views = 1) {
  return {.crop_padding = 4, .flip = true, .jitter = 0.8f, .grey = 0.2f, .views = views};
}

/// Throws ConfigError for numbers out of range, for changes of RGB images of others, and for mixed views.
void check(const Augmentation& a, const ImageDataset& d);

/// The most windows that are cut out one of the other.
inline constexpr int kMaxCrops = 2;

/// The choices for one image: the windows' places in the padded images, whether it is mirrored, and what follows.
struct AugmentDraw {
  int top = 0, left = 0;  // in [0, 2 crop_padding]
  bool mirror = false;
  ColorChange color{};
  int again_top = 0, again_left = 0;  // of a second window
  PolicyDraw policy{};
};

/// Depends on the seed, the image's index in the dataset, the epoch and the view alone: not on order, batch or thread.
AugmentDraw draw_augmentation(const Augmentation& a, uint64_t seed, int64_t image, int64_t epoch, int view = 0);

/// Writes one image [H, W, C] of floats (pixel / 255 - mean) / stddev. Black padding is a pixel of 0. All changes of
/// one image but `any_area` and `paste`.
void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out);
/// The same of an image [H, W, C] of d's size that lies elsewhere.
void write_image(const ImageDataset& d, const uint8_t* pixels, const Augmentation& a, const AugmentDraw& draw,
                 float* out);

/// A random window of an image of any size, as `any_area` has it.
struct Window {
  int64_t top = 0, left = 0, height = 0, width = 0;
};
Window draw_window(int64_t height, int64_t width, Draws draws);

/// Where an image comes from that is not in memory.
using ImageSource = std::function<RgbImage(int64_t image)>;
/// Fills "images", "labels" and, where samples are mixed, "labels2" and "share", as ImageDataset::ports() has them.
/// Without `source` images are those of d. With it they may have any size and are RGB: `any_area` cuts its window out
/// of them; else they have d's size.
void fill_images(const ImageDataset& d, const BatchDraw& draw, const ImageSource& source, std::span<const Ref> out);

}  // namespace sluice
