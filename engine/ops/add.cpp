// The sum of two values: the gradient goes to both. A sum of losses may be where backward starts.
#include "kernels/add.h"

#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/fill.h"

namespace sluice {
namespace {

struct AddFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    if (!dy.defined()) {
      dy = c.empty(shape);
      launch(kernels::FillConstant{.y = dy.ref(), .value = 1.0f}, c.stream);
    }
    return {dy, dy};
  }
  Shape shape;
};

}  // namespace

Var add(Ctx& c, const Var& a, const Var& b) {
  Tensor y = c.empty(a.shape(), a.value.dtype());
  launch(kernels::Add{.a = a.value.cref(), .b = b.value.cref(), .y = y.ref()}, c.stream);
  if (!c.recording({a, b}, false)) return {y};
  auto f = std::make_unique<AddFn>();
  f->shape = y.shape();
  return c.tape->record(std::move(f), y, {a, b}, false);
}

}  // namespace sluice
