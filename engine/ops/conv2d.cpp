// The convolution op. The first layer of a network skips its input gradient: nothing before it is on the tape.
#include "kernels/conv2d.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

kernels::Conv2dGeometry geometry(const Conv2dSpec& s) {
  return {.stride = s.stride, .padding = s.padding, .groups = s.groups};
}

struct Conv2dFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    deferred = Saved(dy, SaveKind::kDeferred, &c.ledger);
    if (!needs(0)) return {};
    const Weight w = c.weights.at(params.weight);
    Tensor dx = c.empty(x.tensor().shape(), dy.dtype());
    launch(
        kernels::Conv2dGradInput{
            .dy = dy.cref(), .w = w.ref, .dx = dx.ref(), .geometry = geometry(params.spec), .w_version = w.version},
        c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot dw = c.arena.grad(params.weight);
    const GradSlot db = params.bias.index < 0 ? GradSlot{} : c.arena.grad(params.bias);
    launch(kernels::Conv2dGradWeight{.x = x.cref(),
                                     .dy = deferred.cref(),
                                     .dw = dw.ref,
                                     .db = db.ref,
                                     .geometry = geometry(params.spec),
                                     .accumulate_w = dw.accumulate,
                                     .accumulate_b = db.accumulate},
           c.stream);
    x.reset();
    deferred.reset();
  }
  Conv2dParams params;
  Saved x, deferred;
};

}  // namespace

Var conv2d(Ctx& c, const Var& x, const Conv2dParams& p) {
  expect_rank("conv2d", "x", x.shape(), 4);
  const kernels::Conv2dGeometry g = geometry(p.spec);
  const Shape& filters = p.weight.shape;
  if (g.stride < 1) throw ShapeError(str("conv2d: stride ", g.stride, ", expected 1 or more"));
  const Weight w = c.weight(p.weight);
  Tensor y = c.empty({x.shape()[0], g.out(x.shape()[1], filters[1]), g.out(x.shape()[2], filters[2]), filters[0]},
                     x.value.dtype());
  launch(kernels::Conv2d{.x = x.value.cref(),
                         .w = w.ref,
                         .bias = p.bias.index < 0 ? ConstRef{} : c.weight(p.bias).ref,
                         .y = y.ref(),
                         .geometry = g,
                         .w_version = w.version},
         c.stream);
  if (!c.recording({x}, true)) return {y};
  auto f = std::make_unique<Conv2dFn>();
  f->params = p;
  f->x = c.save(SaveKind::kActivation, x.value);
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
