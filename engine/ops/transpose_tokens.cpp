// The transposition of each sample's matrix; its gradient is turned back, and nothing is kept.
#include "kernels/transpose_tokens.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

/// x^T + residual.
Tensor turned(const Tensor& x, const Tensor& residual, const Stream& s) {
  expect_rank("transpose_tokens", "x", x.shape(), 3);
  Tensor y = Tensor::empty(s, {x.dim(0), x.dim(2), x.dim(1)}, x.dtype());
  launch(kernels::TransposeTokens{.x = x.cref(), .residual = residual.cref(), .y = y.ref()}, s);
  return y;
}

struct TransposeTokensFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    return {needs(0) ? turned(dy, Tensor(), c.stream) : Tensor(), dy};
  }
};

}  // namespace

Var transpose_tokens(Ctx& c, const Var& x) { return transpose_tokens(c, x, Var()); }

Var transpose_tokens(Ctx& c, const Var& x, const Var& residual) {
  Tensor y = turned(x.value, residual.value, c.stream);
  if (!c.recording({x, residual}, false)) return {y};
  return c.tape->record(std::make_unique<TransposeTokensFn>(), y, {x, residual}, false);
}

}  // namespace sluice
