// Convolution, batch norm and ReLU: what networks behind the VGG are made of.
#pragma once

#include "layers/batch_norm.h"
#include "layers/conv2d.h"

namespace sluice {

/// What all of a network's convolutions have in common.
struct ConvNormStyle {
  bool bias = false;
  ConvStart start = ConvStart::kFanIn;
  float eps = 1e-5f;  // of the batch norm
};

/// x [N, H, W, in] -> relu(bn(conv(x))). Parameters lie under "conv" and "bn".
class ConvNorm final : public Module {
 public:
  ConvNorm(const Init& init, Conv2d::Shape2d shape, Conv2dSpec spec = {}, const ConvNormStyle& style = {})
      : conv_(init.scope("conv"), shape, spec, style.bias, {}, style.start),
        bn_(init.scope("bn"), shape.out, Act::kRelu, /*variance=*/1, style.eps) {}
  Var forward(Ctx& c, const Var& x) const override { return bn_.forward(c, conv_.forward(c, x)); }

 private:
  Conv2d conv_;
  BatchNorm bn_;
};

}  // namespace sluice
