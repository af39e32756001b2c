// Conversion of the dtype: the gradient is converted back.
#include "kernels/convert.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct ConvertFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    Tensor dx = c.empty(dy.shape(), dtype);
    launch(kernels::Convert{.x = dy.cref(), .y = dx.ref()}, c.stream);
    return {dx};
  }
  DType dtype = DType::kF32;  // of the input
};

}  // namespace

Var convert(Ctx& c, const Var& x, DType dtype) {
  if (x.value.dtype() == dtype) return x;
  Tensor y = c.empty(x.shape(), dtype);
  launch(kernels::Convert{.x = x.value.cref(), .y = y.ref()}, c.stream);
  if (!c.recording({x}, false)) return {y};
  auto f = std::make_unique<ConvertFn>();
  f->dtype = x.value.dtype();
  return c.tape->record(std::move(f), y, {x}, false);
}

}  // namespace sluice
