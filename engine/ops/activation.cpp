// Gradient of the element-wise activations. ReLU keeps one bit an element.
#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/packed_relu.h"

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

struct ReluFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const Tensor dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::PackedReluGrad{.bits = bits.cref(), .dy = dy.cref(), .dx = dx.ref()}, c.stream);
    bits.reset();
    return {dx, dx};
  }
  Saved bits;
};

Var relu(Ctx& c, const Var& x, const Var& residual) {
  const bool record = c.recording({x, residual}, false);
  Tensor y = c.empty(x.shape(), x.value.dtype()), bits;
  if (record) bits = c.empty({packed_bytes(x.shape().numel())}, DType::kU8);
  launch(kernels::PackedRelu{.x = x.value.cref(), .residual = residual.value.cref(), .y = y.ref(), .bits = bits.ref()},
         c.stream);
  if (!record) return {y};
  auto f = std::make_unique<ReluFn>();
  f->bits = c.save(SaveKind::kBits, bits);
  return c.tape->record(std::move(f), y, {x, residual}, false);
}

}  // namespace

Var add_relu(Ctx& c, const Var& x, const Var& residual) { return relu(c, x, residual); }

Var activation(Ctx& c, const Var& x, Act act) {
  if (act == Act::kNone) return x;
  if (act == Act::kRelu) return relu(c, x, Var());
  Tensor y = c.empty(x.shape(), x.value.dtype());
  launch(kernels::Activation{.x = x.value.cref(), .y = y.ref(), .act = act}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<ActivationFn>();
  f->kept = c.save(SaveKind::kActivation, keeps_input(act) ? x.value : y);
  f->act = act;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
