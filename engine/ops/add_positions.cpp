// Positions and a learned first token: backward keeps nothing but the gradient, for the weight half.
#include "kernels/add_positions.h"

#include "engine/launch.h"
#include "engine/ops.h"
#include "kernels/slice_tokens.h"

namespace sluice {
namespace {

struct AddPositionsFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    gradient = Saved(dy, SaveKind::kDeferred, &c.ledger);
    if (!needs(0) || params.token.index < 0) return {dy};
    const Shape& s = dy.shape();
    const Tensor dx = c.empty({s[0], s[1] - 1, s[2]}, dy.dtype());
    launch(kernels::SliceTokens{.x = dy.cref(), .y = dx.ref(), .first = 1}, c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const GradSlot positions = c.arena.grad(params.positions);
    const GradSlot token = params.token.index < 0 ? GradSlot{} : c.arena.grad(params.token);
    launch(kernels::AddPositionsGrad{.dy = gradient.cref(),
                                     .dpositions = positions.ref,
                                     .dtoken = token.ref,
                                     .accumulate_positions = positions.accumulate,
                                     .accumulate_token = token.accumulate},
           c.stream);
    gradient.reset();
  }
  PositionParams params;
  Saved gradient;
};

}  // namespace

Var add_positions(Ctx& c, const Var& x, const PositionParams& p) {
  expect_rank("add_positions", "x", x.shape(), 3);
  const bool has_token = p.token.index >= 0;
  Tensor y = c.empty({x.shape()[0], x.shape()[1] + (has_token ? 1 : 0), x.shape()[2]}, x.value.dtype());
  launch(kernels::AddPositions{.x = x.value.cref(),
                               .token = has_token ? c.weight(p.token).ref : ConstRef{},
                               .positions = c.weight(p.positions).ref,
                               .y = y.ref()},
         c.stream);
  if (!c.recording({x}, true)) return {y};
  auto f = std::make_unique<AddPositionsFn>();
  f->params = p;
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
