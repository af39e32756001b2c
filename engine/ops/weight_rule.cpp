// Launches that matmul and conv2d have in common.
#include "engine/ops/weight_rule.h"

#include "engine/launch.h"
#include "kernels/add_sign.h"
#include "kernels/learning_indicator.h"
#include "kernels/quantize.h"

namespace sluice {
namespace {

/// The sign of 0 in forward.
float sign_of_zero(const WeightRule& rule) { return rule.after_relu || rule.faithful ? 0.0f : -1.0f; }

}  // namespace

void add_sign(const Ctx& c, const Tensor& x, const WeightRule& rule, const Tensor& y, const Tensor& bits) {
  launch(
      kernels::AddSign{
          .x = x.cref(), .y = y.ref(), .bits = bits.ref(), .epsilon = rule.epsilon, .of_zero = sign_of_zero(rule)},
      c.stream);
}

EightBits::EightBits(const Ctx& c, const Tensor& x)
    : q(c.save(SaveKind::kActivation, c.empty({x.numel()}, DType::kU8))),
      ranges(c.save(SaveKind::kStats, c.empty({kernels::quant_groups(x.numel()), 2}))) {
  launch(kernels::Quantize{.x = x.cref(), .q = q.tensor().ref(), .ranges = ranges.tensor().ref()}, c.stream);
}

Saved EightBits::whole(BackwardCtx& c, const Shape& shape, DType dtype) {
  const Tensor x = c.empty(shape, dtype, MemoryTag::kWorkspace);
  launch(kernels::Dequantize{.q = q.cref(), .ranges = ranges.cref(), .y = x.ref()}, c.stream);
  q.reset();
  ranges.reset();
  return Saved(x, SaveKind::kDeferred, &c.ledger);
}

void indicate(Ctx& c, const Tensor& x, const WeightRule& rule, int64_t rows, const Indicated& by) {
  const bool earlier = by.residual.defined() && by.residual.storage() != x.storage();  // of a group's first layer: x
  if (c.indicators == nullptr || (rule.from != Auxiliary::kSign && rule.from != Auxiliary::kBias && !earlier)) return;
  c.indicators->push_back(c.empty({rows}));
  launch(kernels::LearningIndicator{.x = x.cref(),
                                    .residual = by.residual.cref(),
                                    .vector = by.vector,
                                    .y = c.indicators->back().ref(),
                                    .epsilon = rule.epsilon,
                                    .of_zero = sign_of_zero(rule)},
         c.stream);
}

}  // namespace sluice
