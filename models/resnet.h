// The ResNet-18 of the associated-learning papers: 32x32 images, no pool behind the stem, 3x3 shortcuts; 6 stages.
#pragma once

#include "models/stages.h"

namespace sluice {

struct ResnetConfig {
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images; a multiple of 8
  int64_t classes = 10;
  double width = 1.0;  // multiplies every channel count
};

/// Stages of convolutions, the head not counted: the stem, then four pairs of residual blocks.
inline constexpr int kResnet18Stages = 5;

/// f of stage i in [0, kResnet18Stages): the stem, ConvBN(3x3, no bias, BN, ReLU) to 64 channels, or two residual
/// blocks with 64, 128, 256, 512 channels; all but the first pair halve the image. Throws ConfigError.
ModulePtr resnet18_stage(const Init& init, const ResnetConfig& config, int i);
/// One sample of what that stage hands on: [H, W, C].
Shape resnet18_stage_output(const ResnetConfig& config, int i);

/// The five stages, then global average pool and Linear. Each StageNet has an Init of its own.
std::vector<StageNet> resnet18_backprop(const ResnetConfig& config);

}  // namespace sluice
