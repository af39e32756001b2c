// Attention: keeps qkv, the output and one number a row; backward makes the probabilities again from them. Where asked,
// qkv alone is kept, and backward makes the rest again, too.
#include "kernels/attention.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

struct Attended {
  Tensor y, lse;
};
Attended attend(const Stream& s, const kernels::AttentionSettings& settings, const Tensor& qkv, const Tensor& mask,
                bool for_backward) {
  const Shape& in = qkv.shape();
  Attended out{Tensor::empty(s, {in[0], in[1], in[2] / 3}, qkv.dtype()), {}};
  if (for_backward) out.lse = Tensor::empty(s, {in[0], std::max(settings.heads, 0), in[1]});
  launch(
      kernels::Attention{
          .qkv = qkv.cref(), .mask = mask.cref(), .y = out.y.ref(), .lse = out.lse.ref(), .settings = settings},
      s);
  return out;
}

struct AttentionFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    if (!y.defined()) {
      Attended again = attend(c.stream, settings, qkv.tensor(), mask.tensor(), true);
      y = Saved(std::move(again.y), SaveKind::kActivation, &c.ledger);
      lse = Saved(std::move(again.lse), SaveKind::kStats, &c.ledger);
    }
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
  expect_rank("attention", "qkv", qkv.shape(), 3);
  const bool record = c.recording({qkv}, false);
  Attended out = attend(c.stream, settings, qkv.value, mask, record && !spec.recompute);
  if (!record) return {std::move(out.y)};
  auto f = std::make_unique<AttentionFn>();
  f->settings = settings;
  f->qkv = c.save(SaveKind::kActivation, qkv.value);
  if (mask.defined()) f->mask = c.save(SaveKind::kMask, mask);
  if (!spec.recompute) {
    f->y = c.save(SaveKind::kActivation, out.y);
    f->lse = c.save(SaveKind::kStats, out.lse);
  }
  return c.tape->record(std::move(f), std::move(out.y), {qkv}, false);
}

}  // namespace sluice
