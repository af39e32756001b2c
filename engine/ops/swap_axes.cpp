// Rows of a sequence in the other order; the gradient goes the same way back, and nothing is kept.
#include "kernels/swap_axes.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

Tensor swapped(const Tensor& x, Tensor y, const Stream& s) {
  launch(kernels::SwapAxes{.x = x.cref(), .y = y.ref()}, s);
  return y;
}

struct SwapAxesFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const Shape& s = dy.shape();
    return {swapped(dy, c.empty({s[1], s[0], s[2]}, dy.dtype()), c.stream)};
  }
};

}  // namespace

Var swap_axes(Ctx& c, const Var& x) {
  const Shape& s = x.shape();
  expect_rank("swap_axes", "x", s, 3);
  const Tensor y = swapped(x.value, c.empty({s[1], s[0], s[2]}, x.value.dtype()), c.stream);
  if (!c.recording({x}, false)) return {y};
  return c.tape->record(std::make_unique<SwapAxesFn>(), y, {x}, false);
}

}  // namespace sluice
