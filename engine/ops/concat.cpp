// Columns side by side; the gradient takes them apart in one pass, and nothing is kept but the widths.
#include "kernels/concat.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct ConcatFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    GradList grads;
    kernels::ConcatGrad call{.dy = dy.cref(), .dparts = {}};
    for (size_t i = 0; i < shapes.size(); ++i) {
      grads[i] = c.empty(shapes[i], dy.dtype());
      call.dparts.push_back(grads[i].ref());
    }
    launch(call, c.stream);
    return grads;
  }
  std::vector<Shape> shapes;
};

}  // namespace

Var concat(Ctx& c, const std::vector<Var>& parts) {
  if (parts.empty()) throw ShapeError("concat: no parts, expected 1 to 6");
  if (parts.size() == 1) return parts[0];
  kernels::Concat call;
  int64_t columns = 0;
  bool record = false;
  auto f = std::make_unique<ConcatFn>();
  for (const Var& p : parts) {
    call.parts.push_back(p.value.cref());
    columns += p.shape().cols();
    record = record || c.recording({p}, false);
    f->shapes.push_back(p.shape());
  }
  const Shape& first = parts[0].shape();
  Shape whole;
  for (int i = 0; i + 1 < first.rank(); ++i) whole.push_back(first[i]);
  whole.push_back(columns);
  Tensor y = c.empty(whole, parts[0].value.dtype());
  call.y = y.ref();
  launch(call, c.stream);
  if (!record) return {y};
  return c.tape->record(std::move(f), y, parts, false);
}

}  // namespace sluice
