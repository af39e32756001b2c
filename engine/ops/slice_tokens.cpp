// Some neighbouring tokens of each sample; the others get a zero gradient, and nothing is kept.
#include "kernels/slice_tokens.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct SliceTokensFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const Tensor dx = c.empty(shape, dy.dtype());
    launch(kernels::SliceTokensGrad{.dy = dy.cref(), .dx = dx.ref(), .first = first}, c.stream);
    return {dx};
  }
  Shape shape;
  int64_t first = 0;
};

}  // namespace

Var slice_tokens(Ctx& c, const Var& x, int64_t first, int64_t count) {
  const Shape& s = x.shape();
  expect_rank("slice_tokens", "x", s, 3);
  if (first < 0 || count < 0) throw ShapeError(str("slice_tokens: ", count, " tokens from ", first, " on"));
  Tensor y = c.empty({s[0], count, s[2]}, x.value.dtype());
  launch(kernels::SliceTokens{.x = x.value.cref(), .y = y.ref(), .first = first}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<SliceTokensFn>();
  f->shape = s;
  f->first = first;
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
