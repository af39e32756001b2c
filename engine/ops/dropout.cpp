// Dropout: backward draws the same numbers again, so nothing is kept.
#include "kernels/dropout.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

Tensor apply(const kernels::Dropout& settings, const Tensor& x, Tensor y, const Stream& s) {
  kernels::Dropout call = settings;
  call.x = x.cref();
  call.y = y.ref();
  launch(call, s);
  return y;
}

struct DropoutFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    return {apply(settings, dy, dy.unique() ? dy : c.empty(dy.shape(), dy.dtype()), c.stream)};
  }
  kernels::Dropout settings;
};

}  // namespace

Var dropout(Ctx& c, const Var& x, float p, uint64_t path) {
  if (!c.training || p == 0.0f) return x;
  const kernels::Dropout settings{
      .x = {}, .y = {}, .p = p, .key = c.rng.key(RngPurpose::kDropout, path), .sample_base = c.rng.sample_base};
  Tensor y = apply(settings, x.value, c.empty(x.shape(), x.value.dtype()), c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<DropoutFn>();
  f->settings = settings;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
