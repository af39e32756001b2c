// Patches of an image to tokens (Dosovitskiy et al. 2021).
#pragma once

#include "layers/module.h"

namespace sluice {

struct PatchConfig {
  int64_t in_channels = 3;
  int64_t image = 32;        // side of the square images
  int64_t patch = 4;         // side of the patches, which do not overlap
  int64_t width = 384;       // of a token
  bool positions = false;    // learned, one a token
  bool class_token = false;  // a learned token before the others; with positions only
};

/// x [N, H, W, C] -> [N, T, width], T = (H / patch)^2, one more with a class token; patches row by row. The linear map
/// of a patch, in the order (y, x, channel), is a convolution whose stride is its window, and starts like PyTorch's
/// Linear; positions and class token start N(0, 1), as in the networks of 32x32 images that auxiliary activations were
/// measured on.
class PatchEmbedding final : public Module {
 public:
  /// Throws ShapeError when the image does not split into patches, ConfigError for a class token without positions.
  PatchEmbedding(Init init, const PatchConfig& config);
  Var forward(Ctx& c, const Var& x) const override;

  /// T.
  static int64_t tokens(const PatchConfig& config);

 private:
  Conv2dParams embed_;
  PositionParams positions_;
};

}  // namespace sluice
