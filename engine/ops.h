// The only list of ops: differentiable functions on Var, one file each in ops/. Images are NHWC, filters KRSC.
#pragma once

#include "engine/tape.h"
#include "kernels/activation.h"
#include "kernels/common/by_axis.h"
#include "kernels/layer_norm.h"

namespace sluice {

// ---- activations, any shape; ReLU keeps one bit an element ----
Var activation(Ctx& c, const Var& x, Act act);
/// max(x + residual, 0), equal shapes, in one pass.
Var add_relu(Ctx& c, const Var& x, const Var& residual);

// ---- weight gradients from less than the input (auxiliary activations; Woo and Jeon, ICLR 2023) ----
/// What is added to a layer's input and, alone, kept for its weight gradient. Gradients of inputs and biases stay
/// exact.
enum class Auxiliary : uint8_t {
  kNone,      // backprop: the input itself
  kBias,      // a learned vector a, the same for every row: nothing is kept, and dw = scale * (column sums of dz) a^T
  kSign,      // epsilon * sign(x): one bit an element is kept
  kEightBits  // no auxiliary activation, but the input itself in 8 bits (kernels/quantize.h): compressed training
};
struct WeightRule {
  Auxiliary from = Auxiliary::kNone;
  float scale = 100.0f;     // of the weight gradient
  float epsilon = 0.01f;    // kSign
  bool after_relu = false;  // kSign: no input is negative, so the sign of 0 is 0; else it is -1
  bool faithful =
      false;          // kSign: forward takes the sign of 0 for 0, as the authors' first code, whatever backward does
  Param auxiliary{};  // kBias: [in], of a convolution [C]
};

// ---- linear: y = act(x w^T + b) ----
struct Linear {
  Param weight;  // [out, in]
  Param bias;    // [out]; index -1: none
  Act act = Act::kNone;
  WeightRule rule{};
};
/// x [..., in] -> [..., out]. With an auxiliary activation a, y = act((x + a) w^T + b), in evaluation too.
Var matmul(Ctx& c, const Var& x, const Linear& l);

// ---- convolution, y = conv(x, w) + b ----
struct Conv2dSpec {
  int stride = 1;
  ByAxis padding = 0;
  int groups = 1;
};
struct Conv2dParams {
  Param weight;  // [K, R, S, C / groups]
  Param bias;    // [K]; index -1: none
  Conv2dSpec spec;
  WeightRule rule{};  // groups of 1 only; the auxiliary activation is added before the zeroes of the padding
};
/// x [N, H, W, C] -> [N, P, Q, K]. `residual` as x: an earlier activation that x is a sum of; the weight gradient is
/// taken from it and x is not kept (auxiliary residual activation). It is kept once, however many layers are given it.
Var conv2d(Ctx& c, const Var& x, const Conv2dParams& p, const Tensor& residual = {});

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
  float dropout = 0;       // on the probabilities, in training
  uint64_t path = 0;       // the hash of the op's path
  bool recompute = false;  // qkv alone is kept, the output is made again in backward
  float scale = 0;         // of the scores; 0: 1 / sqrt(d / heads)
  bool causal = false;     // a position attends to itself and those before it; takes no mask and one sequence
};
/// qkv [B, T, 3 d] -> [B, T, d]: softmax(scale Q K^T) V for each head; Q, K and V of all heads lie side by side. mask
/// [B, T] u8, not 0: may be attended to; undefined: all may. Where a sample has no such key, each position gets the
/// mean of all values. At most 128 columns a head.
Var attention(Ctx& c, const Var& qkv, const Tensor& mask, const AttentionSpec& spec);
/// The same with the keys and values of another sequence: q [B, T, d], kv [B, S, 2 d], mask [B, S] -> [B, T, d].
Var attention(Ctx& c, const Var& q, const Var& kv, const Tensor& mask, const AttentionSpec& spec);

struct BahdanauParams {
  Param v, scale, b;  // [H], [1], [H]
};
/// Additive attention (kernels/bahdanau.h): q [Q, B, H], keys [S, B, H], memory [S, B, M] -> [Q, B, M]. mask [S, B] u8
/// as above. The weights [Q, B, S] f32 are appended to c.attention where that is set.
Var bahdanau_attention(Ctx& c, const Var& q, const Var& keys, const Var& memory, const Tensor& mask,
                       const BahdanauParams& p);

// ---- pooling over NHWC ----
struct Pool2dSpec {
  int window = 2, stride = 2, padding = 0;
};
Var max_pool(Ctx& c, const Var& x, Pool2dSpec spec);
/// Average over the full window; padding counts as zeroes (count_include_pad).
Var avg_pool(Ctx& c, const Var& x, Pool2dSpec spec);

/// x [N, ...] -> [N, rest]; (h, w, c) order.
Var flatten(Ctx& c, const Var& x);
/// x [..., D] -> [rows, D].
Var as_rows(Ctx& c, const Var& x);
/// x [N, H, W, C] -> [N, H W, C], row by row of each image.
Var image_tokens(Ctx& c, const Var& x);
/// x [T, ...] -> [...]: the last of its first dimension.
Var last_step(Ctx& c, const Var& x);
/// x [M, N, D] -> [N, M, D]: between batch-major and time-major.
Var swap_axes(Ctx& c, const Var& x);
/// Up to six values of equal rows side by side: [..., c0], [..., c1], ... -> [..., c0 + c1 + ...].
Var concat(Ctx& c, const std::vector<Var>& parts);
/// a + b, equal shapes.
Var add(Ctx& c, const Var& a, const Var& b);

/// Zeroes with probability p in training and scales the rest by 1 / (1 - p). `path` is the hash of the op's path.
/// Dimension `axis` counts samples: 0, or 1 of a time-major x.
Var dropout(Ctx& c, const Var& x, float p, uint64_t path, int axis = 0);
/// residual + dropout(x), equal shapes, in one pass.
Var dropout(Ctx& c, const Var& x, const Var& residual, float p, uint64_t path);

// ---- tables of rows ----
/// ids [...] i32, table [V, D] -> [..., D], f32 or bf16. An id outside [0, V) gives a NaN row and has no gradient, so
/// that the run ends with its NumericError. The table's gradient is dense and does not depend on the team.
Var embedding(Ctx& c, const Tensor& ids, const Param& table, DType dtype = DType::kF32);

// ---- recurrent: sequences are time-major, x [T, B, in] ----
/// One direction of an LSTM. Gates in the order i, f, g, o.
struct LstmParams {
  Param w_ih, w_hh;  // [4H, in], [4H, H]
  Param b_ih, b_hh;  // [4H]; their sum counts
};
/// Before the first step or behind the last. Undefined before the first: 0.
struct LstmState {
  Var h, c;  // [B, H] as x, [B, H] f32
};
struct LstmOutput {
  Var y;     // [T, B, H]
  Var h, c;  // the last state
};
struct LstmOptions {
  Tensor mask{};         // [T, B] u8; where 0 the state is carried on and y is 0. Undefined: no padding
  bool reverse = false;  // from the last step to the first
};
/// A gradient may reach any of the outputs, and flows to x and to the initial state.
LstmOutput lstm(Ctx& c, const Var& x, const LstmParams& p, const LstmState& initial = {}, const LstmOptions& o = {});

/// Both directions over the same sequence. `reverse` begins at the last step: its last state is behind step 0.
struct BiLstmParams {
  LstmParams forward, reverse;
};
struct BiLstmState {
  LstmState forward, reverse;
};
struct BiLstmOutput {
  Var y;  // [T, B, 2H]: forward, then reverse
  BiLstmState last;
};
BiLstmOutput bi_lstm(Ctx& c, const Var& x, const BiLstmParams& p, const BiLstmState& initial = {},
                     const Tensor& mask = {});

// ---- sequences: batch-major [B, T, D], or time-major [T, B, D] ----
/// Mean over time, axis 1 or 0, of the positions that the mask (u8, the first two dimensions of x; undefined: all, with
/// padding) keeps: -> [B, D]. A sample without any gives zeroes and gets a zero gradient.
Var masked_mean(Ctx& c, const Var& x, const Tensor& mask, int axis);

// ---- tokens of images, [B, T, D] ----
struct PositionParams {
  Param positions;  // [T, D]
  Param token{};    // [D]; index -1: none
};
/// x [B, P, D] -> [B, T, D]: the token, where there is one, before those of each sample (T = P + 1), and the positions
/// added to all.
Var add_positions(Ctx& c, const Var& x, const PositionParams& p);
/// scale x + sinusoids of the positions (kernels/positional_encoding.h), x [B, T, D].
Var positional_encoding(Ctx& c, const Var& x, float scale);
/// x [B, T, D] -> [B, count, D]: `count` tokens of each sample from `first` on.
Var slice_tokens(Ctx& c, const Var& x, int64_t first, int64_t count);
/// x [B, T, D] -> [B, D, T].
Var transpose_tokens(Ctx& c, const Var& x);
/// The same plus a residual [B, D, T], in one pass.
Var transpose_tokens(Ctx& c, const Var& x, const Var& residual);

// ---- rows ----
/// x / max(|x|_2, eps) for each row of x [rows, D].
Var row_normalise(Ctx& c, const Var& x, float eps = 1e-12f);
/// Over the last dimension.
Var log_softmax(Ctx& c, const Var& x);
/// x in another floating dtype; x itself where it has it already.
Var convert(Ctx& c, const Var& x, DType dtype);

// ---- losses: scalars [1]; `weight` multiplies loss and gradient (1 / micro-batches) ----
/// The classes that rows should have.
struct ClassTargets {
  ClassTargets(Tensor of_rows) : labels(std::move(of_rows)) {}  // implicit: one label a row is the usual target
  Tensor labels;                                                // [B] i32
  Tensor labels2{};        // [B] i32: of which rows are to 1 - share; undefined: rows have one label
  Tensor share{};          // [B] f32, of `labels`; as defined as labels2
  float smoothing = 0.0f;  // what a label gives up to all other classes, alike
  int unsmoothed = -1;     // a class that gets nothing of it, such as padding; -1: none
};
/// Sum over rows of row_weights [B] f32 (undefined: 1 / B each) times -sum_k q_k log softmax(logits)_k, where q is the
/// target. logits [B, K] f32.
Var softmax_cross_entropy(Ctx& c, const Var& logits, const ClassTargets& targets, float weight = 1.0f,
                          const Tensor& row_weights = {});
/// Sum over rows of row_weights [rows] f32 (undefined: 1 / rows each) times the row's mean of (x - target)^2. The
/// target gets no gradient.
Var mse(Ctx& c, const Var& x, const Tensor& target, float weight = 1.0f, const Tensor& row_weights = {});
/// Supervised contrastive loss (kernels/supervised_contrastive.h) of rows z [B, D] of length 1, labels [B] i32. Holds
/// B x B numbers while it runs.
Var supervised_contrastive(Ctx& c, const Var& z, const Tensor& labels, float temperature, float weight = 1.0f);

// ---- no gradient ----
/// labels [B] i32 -> [B, classes] f32.
Tensor one_hot(Ctx& c, const Tensor& labels, int64_t classes);
/// 0 .. n - 1, [n] i32.
Tensor iota(Ctx& c, int64_t n);
/// The samples of x along `axis` that index [N] i32 names, in its order; any dtype. Indices are in range.
Tensor select_rows(Ctx& c, const Tensor& x, const Tensor& index, int axis);
/// [n, n] f32.
Tensor identity(Ctx& c, int64_t n);
/// labels [B] i32 -> [classes] f32, the share of each class: row weights with which a loss over one row for each class
/// equals the loss over the batch. NaN where a label is outside [0, classes).
Tensor class_weights(Ctx& c, const Tensor& labels, int64_t classes);
/// ids i32 of any shape -> u8: 1 where the id is not 0, which is padding.
Tensor token_mask(Ctx& c, const Tensor& ids);
/// [B, T] -> [T, B], i32 or u8.
Tensor transpose_ids(Ctx& c, const Tensor& ids);
/// table [K, D] f32, ids [...] i32 -> [..., D] f32: the rows that ids name; NaN where there is none.
Tensor gather_rows(Ctx& c, const Tensor& table, const Tensor& ids);
/// Count of rows whose largest logit (first of equals) is the label -> [1] f32.
Tensor correct_count(Ctx& c, const Tensor& logits, const Tensor& labels);
/// finite [1] i32 &= every element of losses [n] f32 is a finite number; of flags, [n] i32: none is 0. No gradient;
/// updates read the flag.
void flag_non_finite(const Stream& s, const Tensor& losses, const Tensor& finite);

}  // namespace sluice
