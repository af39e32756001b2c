// Views of each sample as one row, of anything as rows, and of an image as rows of tokens; no memory moves in either
// direction.
#include "engine/ops.h"

namespace sluice {
namespace {

struct FlattenFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx&) override { return {dy.reshape(in)}; }
  Shape in;
};

Var viewed(Ctx& c, const Var& x, const Shape& shape) {
  const Tensor y = x.value.reshape(shape);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<FlattenFn>();
  f->in = x.shape();
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace

Var flatten(Ctx& c, const Var& x) {
  if (x.shape().rank() < 1) throw ShapeError("flatten: x is a scalar, expected [N, ...]");
  int64_t size = 1;
  for (int i = 1; i < x.shape().rank(); ++i) size *= x.shape()[i];
  return viewed(c, x, {x.shape()[0], size});
}

Var as_rows(Ctx& c, const Var& x) {
  const Shape& s = x.shape();
  if (s.rank() < 1) throw ShapeError("as_rows: x is a scalar, expected [..., D]");
  int64_t rows = 1;
  for (int i = 0; i + 1 < s.rank(); ++i) rows *= s[i];
  return viewed(c, x, {rows, s[s.rank() - 1]});
}

Var image_tokens(Ctx& c, const Var& x) {
  const Shape& s = x.shape();
  expect_rank("image_tokens", "x", s, 4);
  return viewed(c, x, {s[0], s[1] * s[2], s[3]});
}

}  // namespace sluice
