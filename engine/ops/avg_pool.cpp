// Average pooling: backward needs nothing but the shape.
#include "kernels/avg_pool.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct AvgPoolFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = c.empty(in, dy.dtype());
    launch(kernels::AvgPoolGrad{.dy = dy.cref(), .dx = dx.ref(), .pool = pool}, c.stream);
    return {dx};
  }
  Shape in;
  kernels::Pool2d pool;
};

}  // namespace

Var avg_pool(Ctx& c, const Var& x, Pool2dSpec spec) {
  const kernels::Pool2d pool{spec.window, spec.window, spec.stride, spec.padding};
  Tensor y = c.empty(pool.output(kernels::AvgPool::kName, x.shape()), x.value.dtype());
  launch(kernels::AvgPool{.x = x.value.cref(), .y = y.ref(), .pool = pool}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<AvgPoolFn>();
  f->in = x.shape();
  f->pool = pool;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
