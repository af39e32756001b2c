// Log-softmax: backward needs the output.
#include "kernels/log_softmax.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct LogSoftmaxFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::LogSoftmaxGrad{.y = y.cref(), .dy = dy.cref(), .dx = dx.ref()}, c.stream);
    y.reset();
    return {dx};
  }
  Saved y;
};

}  // namespace

Var log_softmax(Ctx& c, const Var& x) {
  Tensor y = c.empty(x.shape(), x.value.dtype());
  launch(kernels::LogSoftmax{.x = x.value.cref(), .y = y.ref()}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<LogSoftmaxFn>();
  f->y = c.save(SaveKind::kActivation, y);
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
