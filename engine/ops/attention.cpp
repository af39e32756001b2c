// Attention: keeps qkv, the output and one number a row; backward makes the probabilities again from them. Where asked,
// qkv alone is kept, and backward makes the rest again, too.
#include "kernels/attention.h"

#include "engine/launch.h"
#include "engine/ops.h"

namespace sluice {
namespace {

/// What is attended with and to.
struct AttentionInputs {
  Tensor qkv, kv, mask;  // kv: of another sequence, or undefined
};
struct AttentionResults {
  Tensor y, lse;
};
AttentionResults attend(const Stream& s, const kernels::AttentionSettings& settings, const AttentionInputs& in,
                        bool for_backward) {
  const Shape& q = in.qkv.shape();
  AttentionResults out{Tensor::empty(s, {q[0], q[1], in.kv.defined() ? q[2] : q[2] / 3}, in.qkv.dtype()), {}};
  if (for_backward) out.lse = Tensor::empty(s, {q[0], std::max(settings.heads, 0), q[1]});
  launch(kernels::Attention{.qkv = in.qkv.cref(),
                            .kv = in.kv.cref(),
                            .mask = in.mask.cref(),
                            .y = out.y.ref(),
                            .lse = out.lse.ref(),
                            .settings = settings},
         s);
  return out;
}

struct AttentionFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    const AttentionInputs in{qkv.tensor(), kv.tensor(), mask.tensor()};
    if (!y.defined()) {
      AttentionResults again = attend(c.stream, settings, in, true);
      y = Saved(std::move(again.y), SaveKind::kActivation, &c.ledger);
      lse = Saved(std::move(again.lse), SaveKind::kStats, &c.ledger);
    }
    GradList grads{c.empty(in.qkv.shape(), in.qkv.dtype())};
    if (in.kv.defined()) grads[1] = c.empty(in.kv.shape(), in.kv.dtype());
    launch(kernels::AttentionGrad{.qkv = qkv.cref(),
                                  .kv = kv.cref(),
                                  .mask = mask.cref(),
                                  .y = y.cref(),
                                  .lse = lse.cref(),
                                  .dy = dy.cref(),
                                  .dqkv = grads[0].ref(),
                                  .dkv = in.kv.defined() ? grads[1].ref() : Ref(),
                                  .settings = settings},
           c.stream);
    for (Saved* kept : {&qkv, &kv, &mask, &y, &lse}) kept->reset();
    return grads;
  }
  kernels::AttentionSettings settings;
  Saved qkv, kv, mask, y, lse;
};

/// kv: keys and values of another sequence, or undefined.
Var record_attention(Ctx& c, const Var& qkv, const Var& kv, const Tensor& mask, const AttentionSpec& spec) {
  const kernels::AttentionSettings settings{.heads = spec.heads,
                                            .p = c.training ? spec.dropout : 0.0f,
                                            .key = c.rng.key(RngPurpose::kDropout, spec.path),
                                            .sample_base = c.rng.sample_base,
                                            .scale = spec.scale,
                                            .causal = spec.causal};
  expect_rank("attention", "qkv", qkv.shape(), 3);
  const AttentionInputs in{qkv.value, kv.value, mask};
  const bool record = c.recording({qkv, kv}, false);
  AttentionResults out = attend(c.stream, settings, in, record && !spec.recompute);
  if (!record) return {std::move(out.y)};
  auto f = std::make_unique<AttentionFn>();
  f->settings = settings;
  f->qkv = c.save(SaveKind::kActivation, in.qkv);
  if (in.kv.defined()) f->kv = c.save(SaveKind::kActivation, in.kv);
  if (mask.defined()) f->mask = c.save(SaveKind::kMask, mask);
  if (!spec.recompute) {
    f->y = c.save(SaveKind::kActivation, out.y);
    f->lse = c.save(SaveKind::kStats, out.lse);
  }
  return c.tape->record(std::move(f), std::move(out.y), {qkv, kv}, false);
}

}  // namespace

Var attention(Ctx& c, const Var& qkv, const Tensor& mask, const AttentionSpec& spec) {
  return record_attention(c, qkv, {}, mask, spec);
}
Var attention(Ctx& c, const Var& q, const Var& kv, const Tensor& mask, const AttentionSpec& spec) {
  return record_attention(c, q, kv, mask, spec);
}

}  // namespace sluice
