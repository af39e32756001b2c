// Dropout, with a residual in the same pass: backward draws the same numbers again, so nothing is kept.
#include "kernels/dropout.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

Tensor apply(const kernels::Dropout& settings, const Tensor& x, const Tensor& residual, Tensor y, const Stream& s) {
  kernels::Dropout call = settings;
  call.x = x.cref();
  call.residual = residual.cref();
  call.y = y.ref();
  launch(call, s);
  return y;
}

struct DropoutFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    if (!needs(0)) return {Tensor(), dy};
    const bool in_place = !needs(1) && dy.unique();  // the residual's gradient is dy as it came
    const Tensor dx = in_place ? dy : c.empty(dy.shape(), dy.dtype());
    return {apply(settings, dy, Tensor(), dx, c.stream), dy};
  }
  kernels::Dropout settings;
};

kernels::Dropout settings_of(const Ctx& c, float p, uint64_t path, int axis) {
  return {.x = {},
          .y = {},
          .p = p,
          .key = c.rng.key(RngPurpose::kDropout, path),
          .sample_base = c.rng.sample_base,
          .axis = axis};
}

/// residual may be undefined.
Var record_dropout(Ctx& c, const Var& x, const Var& residual, const kernels::Dropout& settings) {
  Tensor y = apply(settings, x.value, residual.value, c.empty(x.shape(), x.value.dtype()), c.stream);
  if (!c.recording({x, residual}, false)) return {y};
  auto f = std::make_unique<DropoutFn>();
  f->settings = settings;
  return c.tape->record(std::move(f), y, {x, residual}, false);
}

}  // namespace

Var dropout(Ctx& c, const Var& x, float p, uint64_t path, int axis) {
  return c.training && p != 0.0f ? record_dropout(c, x, {}, settings_of(c, p, path, axis)) : x;
}
Var dropout(Ctx& c, const Var& x, const Var& residual, float p, uint64_t path) {
  if (!c.training || p == 0.0f) return add(c, residual, x);
  return record_dropout(c, x, residual, settings_of(c, p, path, 0));
}

}  // namespace sluice
