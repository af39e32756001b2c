// Gradient of the element-wise activations.
#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct ActivationFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = dx.ref(), .act = act}, c.stream);
    kept.reset();
    return {dx};
  }
  Saved kept;
  Act act = Act::kNone;
};

}  // namespace

Var activation(Ctx& c, const Var& x, Act act) {
  if (act == Act::kNone) return x;
  Tensor y = c.empty(x.shape(), x.value.dtype());
  launch(kernels::Activation{.x = x.value.cref(), .y = y.ref(), .act = act}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<ActivationFn>();
  f->kept = c.save(SaveKind::kActivation, keeps_input(act) ? x.value : y);
  f->act = act;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
