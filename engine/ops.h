// The only list of ops: differentiable functions on Var, one file each in ops/. Images are NHWC, filters KRSC.
#pragma once

#include "engine/tape.h"
#include "kernels/activation.h"
#include "kernels/layer_norm.h"

namespace sluice {

// ---- activations, any shape ----
Var activation(Ctx& c, const Var& x, Act act);

// ---- linear: y = act(x w^T + b) ----
struct Linear {
  Param weight;  // [out, in]
  Param bias;    // [out]; index -1: none
  Act act = Act::kNone;
};
/// x [..., in] -> [..., out].
Var matmul(Ctx& c, const Var& x, const Linear& l);

// ---- convolution, y = conv(x, w) + b ----
struct Conv2dSpec {
  int stride = 1, padding = 0, groups = 1;
};
struct Conv2dParams {
  Param weight;  // [K, R, S, C / groups]
  Param bias;    // [K]; index -1: none
  Conv2dSpec spec;
};
/// x [N, H, W, C] -> [N, P, Q, K].
Var conv2d(Ctx& c, const Var& x, const Conv2dParams& p);

// ---- batch norm over all but the last dimension, with ReLU and a residual fused behind ----
struct BatchNormParams {
  Param gamma, beta;                 // [C]
  Buffer running_mean, running_var;  // [C]
  float eps = 1e-5f, momentum = 0.1f;
};
/// y = relu?(bn(x) + residual?). Training uses the statistics of this micro-batch and updates the running ones
/// (unbiased variance); evaluation uses the running ones.
Var batch_norm(Ctx& c, const Var& x, const BatchNormParams& p, bool relu = false);
Var batch_norm(Ctx& c, const Var& x, const Var& residual, const BatchNormParams& p, bool relu);

// ---- layer norm over the last dimension ----
struct LayerNormParams {
  Param gamma, beta;  // [C]
  float eps = 1e-5f;
  LayerNormForm form = LayerNormForm::kStandard;
};
Var layer_norm(Ctx& c, const Var& x, const LayerNormParams& p);

// ---- attention ----
struct AttentionSpec {
  int heads = 1;
  float dropout = 0;  // on the probabilities, in training
  uint64_t path = 0;  // the hash of the op's path
};
/// qkv [B, T, 3 d] -> [B, T, d]: softmax(Q K^T / sqrt(d / heads)) V for each head; Q, K and V of all heads lie side by
/// side. mask [B, T] u8, not 0: may be attended to; undefined: all may. Where a sample has no such key, each position
/// gets the mean of all values. At most 128 columns a head.
Var attention(Ctx& c, const Var& qkv, const Tensor& mask, const AttentionSpec& spec);

// ---- pooling over NHWC ----
struct Pool2dSpec {
  int window = 2, stride = 2, padding = 0;
};
Var max_pool(Ctx& c, const Var& x, Pool2dSpec spec);
/// Average over the full window; padding counts as zeroes (count_include_pad).
Var avg_pool(Ctx& c, const Var& x, Pool2dSpec spec);

/// x [N, ...] -> [N, rest]; (h, w, c) order.
Var flatten(Ctx& c, const Var& x);
/// a + b, equal shapes.
Var add(Ctx& c, const Var& a, const Var& b);

/// Zeroes with probability p in training and scales the rest by 1 / (1 - p). `path` is the hash of the op's path.
/// The first dimension counts samples.
Var dropout(Ctx& c, const Var& x, float p, uint64_t path);
/// residual + dropout(x), equal shapes, in one pass; the draws are dropout's.
Var dropout_add(Ctx& c, const Var& x, const Var& residual, float p, uint64_t path);

// ---- losses: scalars [1]; `weight` multiplies loss and gradient (1 / micro-batches) ----
/// Mean over rows of -log softmax(logits)[label]. logits [B, K] f32, labels [B] i32.
Var softmax_cross_entropy(Ctx& c, const Var& logits, const Tensor& labels, float weight = 1.0f);
/// Mean over all elements of (x - target)^2. The target gets no gradient.
Var mse(Ctx& c, const Var& x, const Tensor& target, float weight = 1.0f);

// ---- no gradient ----
/// labels [B] i32 -> [B, classes] f32.
Tensor one_hot(Ctx& c, const Tensor& labels, int64_t classes);
/// Count of rows whose largest logit (first of equals) is the label -> [1] f32.
Tensor correct_count(Ctx& c, const Tensor& logits, const Tensor& labels);
/// finite [1] i32 &= every element of losses [n] f32 is a finite number. No gradient; updates read the flag.
void flag_non_finite(const Stream& s, const Tensor& losses, const Tensor& finite);

}  // namespace sluice
