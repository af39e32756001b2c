// A view of each sample as one row; no memory moves in either direction.
#include "engine/ops.h"

namespace sluice {
namespace {

struct FlattenFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx&) override { return {dy.reshape(in)}; }
  Shape in;
};

}  // namespace

Var flatten(Ctx& c, const Var& x) {
  if (x.shape().rank() < 1) throw ShapeError("flatten: x is a scalar, expected [N, ...]");
  int64_t size = 1;
  for (int i = 1; i < x.shape().rank(); ++i) size *= x.shape()[i];
  const Tensor y = x.value.reshape({x.shape()[0], size});
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<FlattenFn>();
  f->in = x.shape();
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
