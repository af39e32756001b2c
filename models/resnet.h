// The ResNet-18 of the associated-learning papers: 32x32 images, no pool behind the stem, 3x3 shortcuts; 6 stages end
// to end, 5 associated stages, 4 contrastive ones.
#pragma once

#include "models/image_stages.h"

namespace sluice {

struct ResnetConfig {
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images; a multiple of 8
  int64_t classes = 10;
  double width = 1.0;                 // multiplies every channel count and all widths below
  int64_t bridge = 1000, code = 700;  // of associated stages: hidden width of the bridges, width of the label codes
  ImageActs acts{};
  DType dtype = DType::kF32;  // of activations; weights, label codes and losses are f32
  bool faithful = false;      // of associated stages: ImageCodes
};

/// Five: the stem, ConvBN(3x3, no bias, BN, act) to 64 channels; then four pairs of residual blocks with 64, 128, 256,
/// 512 channels, all but the first pair halving the image. Throws ConfigError.
std::vector<ImageSlice> resnet18_slices(const ResnetConfig& config);

/// The slices, then global average pool and Linear.
UnitNet resnet18_units(const ResnetConfig& config);
inline std::vector<StageNet> resnet18_backprop(const ResnetConfig& config) { return cut(resnet18_units(config)); }
/// The slices with label codes.
std::vector<StageNet> resnet18_associated(const ResnetConfig& config);
/// The pairs with contrastive losses, the stem with the first, the head with the last, which is compared behind its
/// global average.
std::vector<StageNet> resnet18_contrastive(const ResnetConfig& config, const ContrastiveOptions& codes = {});

}  // namespace sluice
