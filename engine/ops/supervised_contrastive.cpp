// Supervised contrastive loss: products of all pairs of rows, loss and gradient from them, one more product.
#include "kernels/supervised_contrastive.h"

#include "engine/launch.h"
#include "engine/ops/loss.h"
#include "kernels/matmul.h"

namespace sluice {

Var supervised_contrastive(Ctx& c, const Var& z, const Tensor& labels, float temperature, float weight) {
  expect_rank("supervised_contrastive", "z", z.shape(), 2);
  const Var rows = convert(c, z, DType::kF32);  // products of bf16 would be bf16: too coarse over a temperature of 0.1
  const ConstRef unit = rows.value.cref();
  const int64_t n = z.shape()[0];
  const bool record = c.recording({rows}, false), any = z.value.numel() > 0;
  const Tensor products = c.empty({n, n}), dz = record ? c.empty(z.shape()) : Tensor();
  Tensor loss = c.empty({1});
  if (any) launch(kernels::Matmul{.x = unit, .w = unit, .bias = {}, .y = products.ref()}, c.stream);
  launch(kernels::SupervisedContrastive{.products = products.cref(),
                                        .labels = labels.cref(),
                                        .loss = loss.ref(),
                                        .dproducts = record ? products.ref() : Ref{},
                                        .temperature = temperature,
                                        .weight = weight},
         c.stream);
  if (!record) return {loss};
  if (any) launch(kernels::MatmulGradInput{.dz = products.cref(), .w = unit, .dx = dz.ref()}, c.stream);
  return record_loss(c, loss, rows, dz);
}

}  // namespace sluice
