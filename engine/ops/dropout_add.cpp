// Dropout and a residual in one pass: backward draws the same numbers again, so nothing is kept.
#include "kernels/dropout_add.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct DropoutAddFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    if (!needs(0)) return {Tensor(), dy};
    const bool in_place = !needs(1) && dy.unique();  // the residual's gradient is dy as it came
    const Tensor dx = in_place ? dy : c.empty(dy.shape(), dy.dtype());
    kernels::Dropout call = settings;
    call.x = dy.cref();
    call.y = dx.ref();
    launch(call, c.stream);
    return {dx, dy};
  }
  kernels::Dropout settings;
};

}  // namespace

Var dropout_add(Ctx& c, const Var& x, const Var& residual, float p, uint64_t path) {
  if (!c.training || p == 0.0f) return add(c, residual, x);
  const PhiloxKey key = c.rng.key(RngPurpose::kDropout, path);
  Tensor y = c.empty(x.shape(), x.value.dtype());
  launch(kernels::DropoutAdd{.x = x.value.cref(),
                             .residual = residual.value.cref(),
                             .y = y.ref(),
                             .p = p,
                             .key = key,
                             .sample_base = c.rng.sample_base},
         c.stream);
  if (!c.recording({x, residual}, false)) return {y};
  auto f = std::make_unique<DropoutAddFn>();
  f->settings = {.x = {}, .y = {}, .p = p, .key = key, .sample_base = c.rng.sample_base};
  return c.tape->record(std::move(f), y, {x, residual}, false);
}

}  // namespace sluice
