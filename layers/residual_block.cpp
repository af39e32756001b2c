// Declares a residual block's layers and runs them.
#include "layers/residual_block.h"

namespace sluice {
namespace {

Conv2d conv3x3(const Init& init, int64_t in, int64_t out, int stride) {
  return {init, {in, out, 3}, {.stride = stride, .padding = 1}, false};
}

}  // namespace

BasicBlock::BasicBlock(const Init& init, int64_t in, int64_t out, int stride, Act act)
    : conv1_(conv3x3(init.scope("conv1"), in, out, stride)),
      bn1_(init.scope("bn1"), out, act),
      conv2_(conv3x3(init.scope("conv2"), out, out, 1)),
      bn2_(init.scope("bn2"), out, act) {
  if (stride == 1 && in != out)
    throw ShapeError(
        str(init.path(), ": ", in, " -> ", out, " channels at stride 1, expected as many out as in: x is added to y"));
  if (stride == 1) return;
  const Init shortcut = init.scope("shortcut");
  shortcut_.emplace(Shortcut{conv3x3(shortcut.scope("conv"), in, out, stride), BatchNorm(shortcut.scope("bn"), out)});
}

Var BasicBlock::forward(Ctx& c, const Var& x) const {
  const Var inner = conv2_.forward(c, bn1_.forward(c, conv1_.forward(c, x)));
  if (!shortcut_) return bn2_.forward(c, inner, x);
  return bn2_.forward(c, inner, shortcut_->bn.forward(c, shortcut_->conv.forward(c, x)));
}

}  // namespace sluice
