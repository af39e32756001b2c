// From stored bytes to what a model is fed: random crop, horizontal flip and colours, then normalised floats.
#pragma once

#include <span>

#include "data/color.h"
#include "data/dataset.h"
#include "engine/rng.h"

namespace sluice {

/// Which random changes training images get, in this order. Those of colour are torchvision's and need RGB images.
struct Augmentation {
  int crop_padding = 0;  // black pixels put around an image before a window of its own size is cut out; 0: no crop
  bool flip = false;     // left and right swapped for every second image
  /// Probability of brightness, contrast and saturation times U[0.6, 1.4) and hue plus U[-0.1, 0.1) of the circle, in
  /// random order; then probability of grey.
  float jitter = 0, grey = 0;
  /// 2: every image twice with choices of its own, all first views before all second ones; only second views change
  /// their colours. 1: one view, with all changes.
  int views = 1;

  bool any() const { return crop_padding > 0 || flip || any_color() || views > 1; }
  bool any_color() const { return jitter > 0 || grey > 0; }
};

/// The recipe of contrastive learning on small images, which associated learning also uses: one view or two.
inline Augmentation strong_augmentation(int views = 1) {
  return {.crop_padding = 4, .flip = true, .jitter = 0.8f, .grey = 0.2f, .views = views};
}

/// Throws ConfigError for numbers out of range and for changes of colour of images without three channels.
void check(const Augmentation& a, const ImageDataset& d);

/// The choices for one image: the window's place in the padded image, whether it is mirrored, and its colours.
struct AugmentDraw {
  int top = 0, left = 0;  // in [0, 2 crop_padding]
  bool mirror = false;
  ColorChange color{};
};

/// Depends on the seed, the image's index in the dataset, the epoch and the view alone: not on order, batch or thread.
AugmentDraw draw_augmentation(const Augmentation& a, uint64_t seed, int64_t image, int64_t epoch, int view = 0);

/// Writes one image [H, W, C] of floats (pixel / 255 - mean) / stddev. Black padding is a pixel of 0.
void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out);

}  // namespace sluice
