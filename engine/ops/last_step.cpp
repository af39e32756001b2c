// The last row of a sequence: a view forward; backward the gradient of all other rows is 0.
#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/fill.h"

namespace sluice {
namespace {

struct LastStepFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = c.empty(in, dy.dtype());
    if (in[0] > 1) launch(kernels::FillConstant{.y = dx.rows(0, in[0] - 1).ref(), .value = 0}, c.stream);
    const Tensor last = dx.rows(in[0] - 1, 1);
    copy(c.stream, dy.reshape(last.shape()), last);
    return {dx};
  }
  Shape in;
};

}  // namespace

Var last_step(Ctx& c, const Var& x) {
  const Shape& in = x.shape();
  if (in.rank() < 2 || in[0] == 0) throw ShapeError(str("last_step: x has shape ", in.text(), ", expected [T, ...]"));
  Shape out;
  for (int i = 1; i < in.rank(); ++i) out.push_back(in[i]);
  const Tensor y = x.value.rows(in[0] - 1, 1).reshape(out);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<LastStepFn>();
  f->in = in;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
