// From stored bytes to what a model is fed: random crop, horizontal flip, then normalised floats.
#pragma once

#include "data/dataset.h"
#include "engine/rng.h"

namespace sluice {

/// Which random changes training images get.
struct Augmentation {
  int crop_padding = 0;  // black pixels put around an image before a window of its own size is cut out; 0: no crop
  bool flip = false;     // left and right swapped for every second image

  bool any() const { return crop_padding > 0 || flip; }
};

/// The choices for one image: the window's place in the padded image, and whether it is mirrored.
struct AugmentDraw {
  int top = 0, left = 0;  // in [0, 2 crop_padding]
  bool mirror = false;
};

/// Depends on the seed, the image's index in the dataset and the epoch alone: not on order, batch or thread.
AugmentDraw draw_augmentation(const Augmentation& a, uint64_t seed, int64_t image, int64_t epoch);

/// Writes one image [H, W, C] of floats (pixel / 255 - mean) / stddev. Black padding is a pixel of 0.
void write_image(const ImageDataset& d, int64_t image, const Augmentation& a, const AugmentDraw& draw, float* out);

}  // namespace sluice
