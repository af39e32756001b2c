// The published tables, and what their magnitudes mean.
#include "data/auto_augment.h"

#include <cmath>

namespace sluice {
namespace {

using enum ImageOp;

constexpr std::array kCifarPolicy{
    SubPolicy{{{0.1f, kInvert, 7}, {0.2f, kContrast, 6}}},
    SubPolicy{{{0.7f, kRotate, 2}, {0.3f, kTranslateX, 9}}},
    SubPolicy{{{0.8f, kSharpness, 1}, {0.9f, kSharpness, 3}}},
    SubPolicy{{{0.5f, kShearY, 8}, {0.7f, kTranslateY, 9}}},
    SubPolicy{{{0.5f, kAutoContrast, 8}, {0.9f, kEqualize, 2}}},
    SubPolicy{{{0.2f, kShearY, 7}, {0.3f, kPosterize, 7}}},
    SubPolicy{{{0.4f, kColor, 3}, {0.6f, kBrightness, 7}}},
    SubPolicy{{{0.3f, kSharpness, 9}, {0.7f, kBrightness, 9}}},
    SubPolicy{{{0.6f, kEqualize, 5}, {0.5f, kEqualize, 1}}},
    SubPolicy{{{0.6f, kContrast, 7}, {0.6f, kSharpness, 5}}},
    SubPolicy{{{0.7f, kColor, 7}, {0.5f, kTranslateX, 8}}},
    SubPolicy{{{0.3f, kEqualize, 7}, {0.4f, kAutoContrast, 8}}},
    SubPolicy{{{0.4f, kTranslateY, 3}, {0.2f, kSharpness, 6}}},
    SubPolicy{{{0.9f, kBrightness, 6}, {0.2f, kColor, 8}}},
    SubPolicy{{{0.5f, kSolarize, 2}, {0.0f, kInvert, 3}}},
    SubPolicy{{{0.2f, kEqualize, 0}, {0.6f, kAutoContrast, 0}}},
    SubPolicy{{{0.2f, kEqualize, 8}, {0.6f, kEqualize, 4}}},
    SubPolicy{{{0.9f, kColor, 9}, {0.6f, kEqualize, 6}}},
    SubPolicy{{{0.8f, kAutoContrast, 4}, {0.2f, kSolarize, 8}}},
    SubPolicy{{{0.1f, kBrightness, 3}, {0.7f, kColor, 0}}},
    SubPolicy{{{0.4f, kSolarize, 5}, {0.9f, kAutoContrast, 3}}},
    SubPolicy{{{0.9f, kTranslateY, 9}, {0.7f, kTranslateY, 9}}},
    SubPolicy{{{0.9f, kAutoContrast, 2}, {0.8f, kSolarize, 3}}},
    SubPolicy{{{0.8f, kEqualize, 8}, {0.1f, kInvert, 3}}},
    SubPolicy{{{0.7f, kTranslateY, 9}, {0.9f, kAutoContrast, 1}}},
};
constexpr std::array kSvhnPolicy{
    SubPolicy{{{0.9f, kShearX, 4}, {0.2f, kInvert, 3}}},
    SubPolicy{{{0.9f, kShearY, 8}, {0.7f, kInvert, 5}}},
    SubPolicy{{{0.6f, kEqualize, 5}, {0.6f, kSolarize, 6}}},
    SubPolicy{{{0.9f, kInvert, 3}, {0.6f, kEqualize, 3}}},
    SubPolicy{{{0.6f, kEqualize, 1}, {0.9f, kRotate, 3}}},
    SubPolicy{{{0.9f, kShearX, 4}, {0.8f, kAutoContrast, 3}}},
    SubPolicy{{{0.9f, kShearY, 8}, {0.4f, kInvert, 5}}},
    SubPolicy{{{0.9f, kShearY, 5}, {0.2f, kSolarize, 6}}},
    SubPolicy{{{0.9f, kInvert, 6}, {0.8f, kAutoContrast, 1}}},
    SubPolicy{{{0.6f, kEqualize, 3}, {0.9f, kRotate, 3}}},
    SubPolicy{{{0.9f, kShearX, 4}, {0.3f, kSolarize, 3}}},
    SubPolicy{{{0.8f, kShearY, 8}, {0.7f, kInvert, 4}}},
    SubPolicy{{{0.9f, kEqualize, 5}, {0.6f, kTranslateY, 6}}},
    SubPolicy{{{0.9f, kInvert, 4}, {0.6f, kEqualize, 7}}},
    SubPolicy{{{0.3f, kContrast, 3}, {0.8f, kRotate, 4}}},
    SubPolicy{{{0.8f, kInvert, 5}, {0.0f, kTranslateY, 2}}},
    SubPolicy{{{0.7f, kShearY, 6}, {0.4f, kSolarize, 8}}},
    SubPolicy{{{0.6f, kInvert, 4}, {0.8f, kRotate, 4}}},
    SubPolicy{{{0.3f, kShearY, 7}, {0.9f, kTranslateX, 3}}},
    SubPolicy{{{0.1f, kShearX, 6}, {0.6f, kInvert, 5}}},
    SubPolicy{{{0.7f, kSolarize, 2}, {0.6f, kTranslateY, 7}}},
    SubPolicy{{{0.8f, kShearY, 4}, {0.8f, kInvert, 8}}},
    SubPolicy{{{0.7f, kShearX, 9}, {0.8f, kTranslateY, 3}}},
    SubPolicy{{{0.8f, kShearY, 5}, {0.7f, kAutoContrast, 3}}},
    SubPolicy{{{0.7f, kShearX, 2}, {0.1f, kInvert, 5}}},
};

bool has_sign(ImageOp op) {
  return op != kAutoContrast && op != kEqualize && op != kPosterize && op != kSolarize && op != kInvert;
}

}  // namespace

std::span<const SubPolicy> policy(AutoAugment which) {
  if (which == AutoAugment::kCifar) return kCifarPolicy;
  if (which == AutoAugment::kSvhn) return kSvhnPolicy;
  return {};
}

double amount_of(ImageOp op, int magnitude, double sign) {
  const double part = double(magnitude) / 9;
  switch (op) {
    case kShearX:
    case kShearY:
      return sign * 0.3 * part;
    case kTranslateX:
    case kTranslateY:
      return sign * 150.0 / 331 * part;
    case kRotate:
      return sign * 30 * part;
    case kColor:
    case kContrast:
    case kSharpness:
    case kBrightness:
      return sign * 0.9 * part;
    case kPosterize:
      return std::nearbyint(8 - 4 * part);
    case kSolarize:
      return 256 - 256 * part;
    default:
      return 0;
  }
}

PolicyDraw draw_policy(AutoAugment which, bool rotate_both_ways, Draws draws) {
  const std::span<const SubPolicy> parts = policy(which);
  PolicyDraw d;
  if (parts.empty()) return d;
  for (const PolicyStep& step : parts[size_t(draws.below(int(parts.size())))]) {
    const bool taken = draws.unit() < step.probability, negative = draws.coin();
    if (!taken) continue;
    const bool turned = negative && has_sign(step.op) && (step.op != kRotate || rotate_both_ways);
    d.changes[size_t(d.count++)] = {step.op, amount_of(step.op, step.magnitude, turned ? -1 : 1)};
  }
  return d;
}

}  // namespace sluice
