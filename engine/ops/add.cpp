// The sum of two values: the gradient goes to both.
#include "kernels/add.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct AddFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx&) override { return {dy, dy}; }
};

}  // namespace

Var add(Ctx& c, const Var& a, const Var& b) {
  Tensor y = c.empty(a.shape(), a.value.dtype());
  launch(kernels::Add{.a = a.value.cref(), .b = b.value.cref(), .y = y.ref()}, c.stream);
  if (!c.recording({a, b}, false)) return {y};
  return c.tape->record(std::make_unique<AddFn>(), y, {a, b}, false);
}

}  // namespace sluice
