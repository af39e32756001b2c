// Losses: backward hands out the gradient that forward made.
#include "engine/ops/loss.h"

#include "engine/launch.h"
#include "kernels/scale.h"

namespace sluice {
namespace {

struct LossFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = gradient.tensor();
    gradient.reset();
    if (dy.defined())
      launch(kernels::Scale{.x = dx.cref(), .factor = dy.cref(), .y = dx.ref()}, c.stream);  // nobody else holds it
    return {dx};
  }
  Saved gradient;
};

}  // namespace

Var record_loss(Ctx& c, const Tensor& loss, const Var& x, const Tensor& dx) {
  auto f = std::make_unique<LossFn>();
  f->gradient = c.save(SaveKind::kActivation, dx);
  return c.tape->record(std::move(f), loss, {x}, false);
}

}  // namespace sluice
