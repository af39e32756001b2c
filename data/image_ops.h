// The changes of AutoAugment to 8-bit RGB images, in place: bit for bit what PIL does, as the published codes call it.
#pragma once

#include <cstdint>

#include "data/image_file.h"

namespace sluice {

enum class ImageOp : uint8_t {
  // Moved pixels; what comes from outside the image is grey, 128. An amount's sign is its direction.
  kShearX,      // by `amount` columns a row, bicubic
  kShearY,      // by `amount` rows a column, bicubic
  kTranslateX,  // by `amount` of the width, whole pixels
  kTranslateY,  // by `amount` of the height
  kRotate,      // by `amount` degrees about the middle, counter-clockwise, whole pixels
  // Blends: the factor is 1 + amount, 0 gives what is named and 1 the image. Fractions are cut off.
  kColor,       // each pixel's grey value
  kContrast,    // the image's mean grey value
  kSharpness,   // the image smoothed over 3x3 with a middle of 5; its border is not
  kBrightness,  // black
  // One value after the other, by tables.
  kAutoContrast,  // each channel is spread over 0 .. 255
  kEqualize,      // each channel's values become about equally frequent
  kPosterize,     // the upper `amount` bits are kept
  kSolarize,      // values of at least `amount` are inverted
  kInvert
};

/// Needs an image of at least one pixel.
void apply(ImageOp op, double amount, RgbImage& image);

}  // namespace sluice
