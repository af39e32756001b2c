// AutoAugment (Cubuk et al., CVPR 2019): policies found for a data set, of which each image gets one of 25 parts.
#pragma once

#include <array>
#include <span>

#include "data/draws.h"
#include "data/image_ops.h"

namespace sluice {

enum class AutoAugment : uint8_t { kNone, kCifar, kSvhn };  // kCifar: for CIFAR-10, used for CIFAR-100 too

/// One change, which an image gets with this probability.
struct PolicyStep {
  float probability;
  ImageOp op;
  int magnitude;  // 0 to 9
};
/// Its steps are taken in order.
using SubPolicy = std::array<PolicyStep, 2>;
/// Empty for kNone.
std::span<const SubPolicy> policy(AutoAugment which);

/// What apply() is given for a magnitude: shears up to 0.3, translations up to 150 / 331, rotations up to 30 degrees,
/// blends up to 0.9, all times `sign`; bits from 8 down to 4, thresholds from 256 down to 0.
double amount_of(ImageOp op, int magnitude, double sign);

/// The changes of one image.
struct PolicyDraw {
  struct Change {
    ImageOp op = ImageOp::kInvert;
    double amount = 0;
  };
  std::array<Change, 2> changes{};
  int count = 0;
};
/// One of the parts, each alike; each of its steps by its probability; signs alike, those of rotations only if
/// `rotate_both_ways`.
PolicyDraw draw_policy(AutoAugment which, bool rotate_both_ways, Draws draws);

}  // namespace sluice
