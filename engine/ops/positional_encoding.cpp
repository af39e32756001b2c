// Positional encoding: keeps nothing.
#include "kernels/positional_encoding.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct PositionalEncodingFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const Tensor dx = dy.unique() ? dy : c.empty(dy.shape(), dy.dtype());
    launch(kernels::PositionalEncoding{.x = dy.cref(), .y = dx.ref(), .scale = scale, .positions = false}, c.stream);
    return {dx};
  }
  float scale = 1.0f;
};

}  // namespace

Var positional_encoding(Ctx& c, const Var& x, float scale) {
  Tensor y = c.empty(x.shape(), x.value.dtype());
  launch(kernels::PositionalEncoding{.x = x.value.cref(), .y = y.ref(), .scale = scale}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<PositionalEncodingFn>();
  f->scale = scale;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
