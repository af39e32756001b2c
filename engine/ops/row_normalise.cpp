// Rows of length 1: backward needs them and the lengths that they had.
#include "kernels/row_normalise.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct RowNormaliseFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::RowNormaliseGrad{.y = y.cref(), .norms = norms.cref(), .dy = dy.cref(), .dx = dx.ref(), .eps = eps},
           c.stream);
    y.reset();
    norms.reset();
    return {dx};
  }
  Saved y, norms;
  float eps = 0;
};

}  // namespace

Var row_normalise(Ctx& c, const Var& x, float eps) {
  expect_rank("row_normalise", "x", x.shape(), 2);
  Tensor y = c.empty(x.shape(), x.value.dtype()), norms = c.empty({x.shape()[0]});
  launch(kernels::RowNormalise{.x = x.value.cref(), .y = y.ref(), .norms = norms.ref(), .eps = eps}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<RowNormaliseFn>();
  f->y = c.save(SaveKind::kActivation, y);
  f->norms = c.save(SaveKind::kStats, norms);
  f->eps = eps;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
