// The VGG of the associated-learning papers ("VGG8"): 5 stages end to end, 4 associated stages.
#pragma once

#include "models/contrastive.h"

namespace sluice {

struct VggConfig {
  int64_t in_channels = 3;
  int64_t image = 32;  // side of the square images; a multiple of 16
  int64_t classes = 10;
  double width = 1.0;     // multiplies every channel count, the label code (700) and the hidden widths (1000, 2500)
  bool faithful = false;  // bridges on the whole flattened map, sigmoid decoders with MSE to the one-hot label
};

/// Blocks ConvBN(3x3, no bias, BN, ReLU) and 2x2 max pools, channels 128, 256 | 256, 512 | 512 | 512, then
/// Flatten, Linear 2500, sigmoid, Linear classes. Each StageNet has an Init of its own.
std::vector<StageNet> vgg_backprop(const VggConfig& config);

/// The four convolution stages, each with bridge b, label encoder g and decoder h. By default the bridge averages the
/// map to 4x4 first (the paper's flattened bridge holds 90 % of all parameters), the first decoder is linear with
/// cross-entropy, and label encoders start with spread codes: else the codes of all classes stay alike for many epochs.
std::vector<StageNet> vgg_associated(const VggConfig& config);

/// The same stages trained by contrastive losses on the flattened maps; the head of vgg_backprop in the last.
std::vector<StageNet> vgg_contrastive(const VggConfig& config, Projector projector = Projector::kMlp,
                                      float temperature = 0.1f);

}  // namespace sluice
