// Mean over time: backward needs the mask and how many tokens each sample has.
#include "kernels/masked_mean.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct MaskedMeanFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = c.empty(shape, dy.dtype());
    launch(
        kernels::MaskedMeanGrad{
            .dy = dy.cref(), .mask = mask.cref(), .share = share.cref(), .dx = dx.ref(), .axis = axis},
        c.stream);
    mask.reset();
    share.reset();
    return {dx};
  }
  Shape shape;
  int axis = 1;
  Saved mask, share;
};

}  // namespace

Var masked_mean(Ctx& c, const Var& x, const Tensor& mask, int axis) {
  expect_rank("masked_mean", "x", x.shape(), 3);
  const int samples = axis == 0 ? 1 : 0;
  Tensor y = c.empty({x.shape()[samples], x.shape()[2]}, x.value.dtype()), share = c.empty({x.shape()[samples]});
  launch(
      kernels::MaskedMean{.x = x.value.cref(), .mask = mask.cref(), .y = y.ref(), .share = share.ref(), .axis = axis},
      c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<MaskedMeanFn>();
  f->shape = x.shape();
  f->axis = axis;
  if (mask.defined()) f->mask = c.save(SaveKind::kMask, mask);
  f->share = c.save(SaveKind::kStats, share);
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
