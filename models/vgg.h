// The VGG of the associated-learning papers ("VGG8"): 5 stages end to end, 4 associated stages.
#pragma once

#include "models/image_stages.h"

namespace sluice {

struct VggConfig {
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images; a multiple of 16
  int64_t classes = 10;
  double width = 1.0;                 // multiplies every channel count and all widths below, and the classifier's 2500
  int64_t bridge = 1000, code = 700;  // of associated stages: hidden width of the bridges, width of the label codes
  ImageActs acts{};
  DType dtype = DType::kF32;  // of activations; weights, label codes and losses are f32
  bool faithful = false;      // of associated stages: ImageCodes
};

/// Blocks ConvBN(3x3, no bias, BN, act) and 2x2 max pools, channels 128, 256 | 256, 512 | 512 | 512, then
/// Flatten, Linear 2500, sigmoid, Linear classes.
UnitNet vgg_units(const VggConfig& config);
inline std::vector<StageNet> vgg_backprop(const VggConfig& config) { return cut(vgg_units(config)); }
/// The four convolution stages with label codes.
std::vector<StageNet> vgg_associated(const VggConfig& config);
/// The four convolution stages with contrastive losses, and the classifier in the last.
std::vector<StageNet> vgg_contrastive(const VggConfig& config, const ContrastiveOptions& codes = {});

}  // namespace sluice
