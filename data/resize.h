// Shrinks and enlarges images as PIL does: a triangle filter that widens with the reduction, in fixed point.
#pragma once

#include "data/image_file.h"

namespace sluice {

/// One axis of a resized image: its whole length, and the part of it that is wanted.
struct ResizedAxis {
  int64_t size = 0, first = 0, count = 0;
};

/// Pixels [first, first + count) of both axes. Bit for bit what PIL's bilinear resize and a crop give: columns first,
/// rounded to bytes, then rows. Throws ConfigError when the part is not within the size.
RgbImage resize(const RgbImage& image, const ResizedAxis& rows, const ResizedAxis& columns);

/// The shorter side becomes `side` (the longer in proportion, rounded down), then the middle of the longer one is cut
/// out: torchvision's Resize(side) and CenterCrop(side). An image of that size is given back as it is.
RgbImage fit_square(const RgbImage& image, int64_t side);
/// The same with a square of `side` out of the middle of both: Resize(shorter), CenterCrop(side). Throws ConfigError
/// where side is larger.
RgbImage fit_square(const RgbImage& image, int64_t shorter, int64_t side);

}  // namespace sluice
