// The residual block of two 3x3 convolutions (He et al. 2016): y = act(bn(conv(act(bn(conv(x))))) + shortcut(x)).
#pragma once

#include <optional>

#include "layers/batch_norm.h"
#include "layers/conv2d.h"

namespace sluice {

/// x [N, H, W, in] -> [N, H', W', out], where H' is H over `stride`, rounded up. The first convolution has the stride.
/// The shortcut is x itself at stride 1, else a 3x3 convolution of the same stride with batch norm and no activation
/// (as the associated-learning codes have it; usual elsewhere is 1x1). Convolutions have no bias. The sum and a last
/// ReLU are one pass with the second batch norm.
class BasicBlock final : public Module {
 public:
  /// Throws ShapeError when stride 1 would have to change the number of channels.
  BasicBlock(const Init& init, int64_t in, int64_t out, int stride = 1, Act act = Act::kRelu);
  Var forward(Ctx& c, const Var& x) const override;

 private:
  struct Shortcut {
    Conv2d conv;
    BatchNorm bn;
  };
  Conv2d conv1_;
  BatchNorm bn1_;
  Conv2d conv2_;
  BatchNorm bn2_;
  std::optional<Shortcut> shortcut_;
};

}  // namespace sluice
