// Attention: keeps qkv, the output and one number a row; backward makes the probabilities again from them.
#include "kernels/attention.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct AttentionFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const Tensor dqkv = c.empty(qkv.tensor().shape(), qkv.tensor().dtype());
    launch(kernels::AttentionGrad{.qkv = qkv.cref(),
                                  .mask = mask.cref(),
                                  .y = y.cref(),
                                  .lse = lse.cref(),
                                  .dy = dy.cref(),
                                  .dqkv = dqkv.ref(),
                                  .settings = settings},
           c.stream);
    for (Saved* kept : {&qkv, &mask, &y, &lse}) kept->reset();
    return {dqkv};
  }
  kernels::AttentionSettings settings;
  Saved qkv, mask, y, lse;
};

}  // namespace

Var attention(Ctx& c, const Var& qkv, const Tensor& mask, const AttentionSpec& spec) {
  const kernels::AttentionSettings settings{.heads = spec.heads,
                                            .p = c.training ? spec.dropout : 0.0f,
                                            .key = c.rng.key(RngPurpose::kDropout, spec.path),
                                            .sample_base = c.rng.sample_base,
                                            .scale = spec.scale};
  const Shape& in = qkv.shape();
  expect_rank("attention", "qkv", in, 3);
  const bool record = c.recording({qkv}, false);
  Tensor y = c.empty({in[0], in[1], in[2] / 3}, qkv.value.dtype()), lse;
  if (record) lse = c.empty({in[0], std::max(spec.heads, 0), in[1]});
  launch(
      kernels::Attention{
          .qkv = qkv.value.cref(), .mask = mask.cref(), .y = y.ref(), .lse = lse.ref(), .settings = settings},
      c.stream);
  if (!record) return {y};
  auto f = std::make_unique<AttentionFn>();
  f->settings = settings;
  f->qkv = c.save(SaveKind::kActivation, qkv.value);
  if (mask.defined()) f->mask = c.save(SaveKind::kMask, mask);
  f->y = c.save(SaveKind::kActivation, y);
  f->lse = c.save(SaveKind::kStats, lse);
  return c.tape->record(std::move(f), y, {qkv}, false);
}

}  // namespace sluice
