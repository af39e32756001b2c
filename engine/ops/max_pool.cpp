// Max pooling: backward needs one byte an output, the winner's place in its window.
#include "kernels/max_pool.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct MaxPoolFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = c.empty(in, dy.dtype());
    launch(kernels::MaxPoolGrad{.index = index.cref(), .dy = dy.cref(), .dx = dx.ref(), .pool = pool}, c.stream);
    index.reset();
    return {dx};
  }
  Shape in;
  kernels::Pool2d pool;
  Saved index;
};

}  // namespace

Var max_pool(Ctx& c, const Var& x, Pool2dSpec spec) {
  const kernels::Pool2d pool{spec.window, spec.window, spec.stride, spec.padding};
  const Shape out = pool.output(kernels::MaxPool::kName, x.shape());
  const bool record = c.recording({x}, false);
  Tensor y = c.empty(out, x.value.dtype());
  const Tensor index = record ? c.empty(out, DType::kU8) : Tensor();
  launch(kernels::MaxPool{.x = x.value.cref(), .y = y.ref(), .index = index.ref(), .pool = pool}, c.stream);
  if (!record) return {y};
  auto f = std::make_unique<MaxPoolFn>();
  f->in = x.shape();
  f->pool = pool;
  f->index = c.save(SaveKind::kMask, index);
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
