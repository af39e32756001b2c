// The unit of densely connected networks (Huang et al. 2017), which adds channels to its input.
#pragma once

#include "layers/batch_norm.h"
#include "layers/conv2d.h"

namespace sluice {

struct DenseUnitConfig {
  int64_t in = 64;      // channels of x
  int64_t inner = 128;  // behind the 1x1 convolution
  int64_t growth = 32;  // channels that it adds
};

/// x [N, H, W, in] -> [N, H, W, in + growth]: x, and conv3x3(relu(bn(conv1x1(relu(bn(x)))))) behind it. Convolutions
/// have no bias. Kept: x, which is a copy of its own in every unit, and the input of the other three layers, so a block
/// of units keeps what grows with the square of their number.
class DenseUnit final : public Module {
 public:
  DenseUnit(const Init& init, const DenseUnitConfig& config);
  Var forward(Ctx& c, const Var& x) const override;

 private:
  BatchNorm bn1_;
  Conv2d conv1_;
  BatchNorm bn2_;
  Conv2d conv2_;
};

}  // namespace sluice
