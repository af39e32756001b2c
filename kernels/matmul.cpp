// CPU halves of the matrix products: oneDNN's inner product and matmul; which one is a rule of the shape.
#include "kernels/matmul.h"

#include <algorithm>

#include "kernels/common/onednn.h"
#include "kernels/common/parallel.h"
#include "kernels/common/sum_rows.h"

namespace sluice::kernels {
namespace {

using onednn::Argument;
using onednn::Desc;
using onednn::Plan;
using onednn::Role;
using onednn::Tag;
using Forward = dnnl::inner_product_forward;
using BackwardData = dnnl::inner_product_backward_data;
using BackwardWeights = dnnl::inner_product_backward_weights;

/// Everything that decides a plan.
struct Problem {
  const char* name;
  int64_t rows, in, out;
  DType dtype, w_dtype;
  bool bias = false;
  Act act = Act::kNone;
  bool accumulate = false;
  bool w_reused = false;

  std::vector<int64_t> key(const CpuContext& c) const {
    return {rows, in, out, int64_t(dtype), int64_t(w_dtype), bias, int64_t(act), accumulate, w_reused, c.team};
  }
};

/// The operands as the caller holds them.
struct Layouts {
  Desc x, w, bias, y;

  explicit Layouts(const Problem& p)
      : x({p.rows, p.in}, onednn::data_type(p.dtype), Tag::ab),
        w({p.out, p.in}, onednn::data_type(p.w_dtype), Tag::ab),
        y({p.rows, p.out}, onednn::data_type(p.dtype), Tag::ab) {
    if (p.bias) bias = Desc({p.out}, dnnl::memory::data_type::f32, Tag::a);
  }
};

dnnl::primitive_attr attributes(bool accumulate = false, Act act = Act::kNone) {
  dnnl::primitive_attr a;
  a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops ops;
  if (accumulate) {
    ops.append_sum(1.0f);
    a.set_post_ops(ops);
  }
  switch (act) {
    case Act::kNone:
      return a;
    case Act::kRelu:
      ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
      break;
    case Act::kLeakyRelu:
      ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.01f, 0.0f);
      break;
    case Act::kSigmoid:
      ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_logistic, 0.0f, 0.0f);
      break;
    case Act::kTanh:
      ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_tanh, 0.0f, 0.0f);
      break;
    case Act::kGelu:
      ops.append_eltwise(1.0f, dnnl::algorithm::eltwise_gelu_tanh, 0.0f, 0.0f);
      break;
  }
  a.set_post_ops(ops);
  return a;
}

/// A matrix [rows, cols] in the layout that the library likes best, or in plain rows.
Desc matrix(int64_t rows, int64_t cols, DType t, bool plain) {
  return {{rows, cols}, onednn::data_type(t), plain ? Tag::ab : Tag::any};
}

Forward::desc forward_desc(const Problem& p, const Layouts& l, bool plain_weights) {
  return {dnnl::prop_kind::forward_training, l.x, matrix(p.out, p.in, p.dtype, plain_weights), l.bias, l.y};
}

// The rules below are the outcome of timing inner product and matmul of oneDNN 2.6.3 with plain and packed operands,
// all non-reference implementations, on one core of a Xeon with AVX-512, AMX and 2 MB of L2: 32 ... 1024 rows,
// in and out of 10 ... 8192, minimum of 15 interleaved runs. Packing is counted: a training step uses a version of the
// weights once forward and once backward.

Plan forward_plan(const Problem& p, onednn::Library& lib) {
  // f32: packed weights are up to 1.5 times faster while they are small; large ones cost more to pack than they gain.
  // bf16: packed weights win at every size, and f32 masters have to be converted anyway.
  const bool plain = p.dtype == DType::kF32 && p.in * p.out > (1 << 18) && !p.w_reused;
  const Layouts l(p);
  const Forward::desc d = forward_desc(p, l, plain);
  const auto pd = onednn::choose(Forward::primitive_desc(d, attributes(p.accumulate, p.act), lib.engine));
  std::vector<Argument> a{{DNNL_ARG_SRC, Role::kInput, l.x, pd.src_desc()},
                          {DNNL_ARG_WEIGHTS, Role::kWeight, l.w, pd.weights_desc()},
                          {DNNL_ARG_DST, Role::kOutput, l.y, pd.dst_desc()}};
  if (p.bias) a.push_back({DNNL_ARG_BIAS, Role::kInput, l.bias, l.bias});
  return {lib, p.name, pd, a};
}

/// dz w by the library's matmul, which alone can add to what is there.
Plan product_plan(const Problem& p, bool plain, onednn::Library& lib) {
  const Layouts l(p);
  const dnnl::matmul::desc d(l.y, matrix(p.out, p.in, p.dtype, plain), l.x);
  const auto pd = onednn::choose(dnnl::matmul::primitive_desc(d, attributes(p.accumulate), lib.engine),
                                 p.accumulate && plain ? "gemm" : "");
  return {lib,
          p.name,
          pd,
          {{DNNL_ARG_SRC, Role::kInput, l.y, l.y},
           {DNNL_ARG_WEIGHTS, Role::kWeight, l.w, pd.weights_desc()},
           {DNNL_ARG_DST, Role::kOutput, l.x, l.x}}};
}

Plan backward_data_plan(const Problem& p, onednn::Library& lib) {
  // f32: the plain GEMM is up to 25 % faster than packed kernels, and never slower once packing is counted, but for a
  // narrow result, where matmul is. bf16: packed kernels are 1.3 to 7 times faster.
  const bool plain = p.dtype == DType::kF32;
  if (p.accumulate || (plain && p.in <= 16)) return product_plan(p, plain, lib);
  const Layouts l(p);
  const BackwardData::desc d(l.x, matrix(p.out, p.in, p.dtype, plain), l.y);
  const Forward::primitive_desc hint(forward_desc(p, l, plain), attributes(), lib.engine);
  const auto pd = onednn::choose(BackwardData::primitive_desc(d, attributes(), lib.engine, hint), plain ? "gemm" : "");
  return {lib,
          p.name,
          pd,
          {{DNNL_ARG_DIFF_DST, Role::kInput, l.y, pd.diff_dst_desc()},
           {DNNL_ARG_WEIGHTS, Role::kWeight, l.w, pd.weights_desc()},
           {DNNL_ARG_DIFF_SRC, Role::kOutput, l.x, pd.diff_src_desc()}}};
}

/// More rows than the inner product was timed with: its GEMM reads columns of dz, whose stride is long, at 0.7 of the
/// speed that matmul does (4096 rows of sequences, 256 and 512 to 1024, minimum of 5 interleaved runs).
bool is_long(const Problem& p) { return p.dtype == DType::kF32 && p.rows > 1024 && p.in > 16; }

/// dz^T x by the library's matmul.
Plan transposed_product_plan(const Problem& p, onednn::Library& lib) {
  const Layouts l(p);
  const Desc dz({p.out, p.rows}, onednn::data_type(p.dtype), Tag::ba);
  const dnnl::matmul::desc d(dz, l.x, l.w);
  const auto pd = onednn::choose(dnnl::matmul::primitive_desc(d, attributes(), lib.engine));
  return {lib,
          p.name,
          pd,
          {{DNNL_ARG_WEIGHTS, Role::kInput, l.x, l.x},
           {DNNL_ARG_SRC, Role::kInput, dz, dz},
           {DNNL_ARG_DST, Role::kGradient, l.w, l.w}}};
}

/// db (+)= column sums of dz.
void column_sums(const CpuContext& c, const ConstRef& dz, const Ref& db, bool accumulate) {
  constexpr int64_t kCols = 1024;  // a stretch of a row is as long as a page
  const Matrix<float> rows{dz.as<float>(), dz.dim(0), dz.dim(1)};
  parallel_blocks(c, rows.cols, kCols, [&](int64_t begin, int64_t end) {
    float total[kCols];
    sum_rows<kCols>(
        rows, begin, end - begin, [](int64_t) { return 1.0f; }, total);
    float* out = db.as<float>() + begin;
    for (int64_t j = 0; j < end - begin; ++j) out[j] = accumulate ? out[j] + total[j] : total[j];
  });
}

Plan backward_weights_plan(const Problem& p, onednn::Library& lib) {
  if (is_long(p)) return transposed_product_plan(p, lib);
  // The plain GEMM, which also sums the bias gradient, is 1.1 to 6 times faster than packed kernels that have to be
  // unpacked, but for a narrow f32 input (one-hot labels): there it is 1.6 times slower.
  const bool plain = p.dtype != DType::kF32 || p.in > 16;
  const Layouts l(p);
  const BackwardWeights::desc d(l.x, matrix(p.out, p.in, DType::kF32, plain), l.bias, l.y);
  const Forward::primitive_desc hint(forward_desc(p, l, plain), attributes(), lib.engine);
  const auto pd = onednn::choose(BackwardWeights::primitive_desc(d, attributes(), lib.engine, hint));
  std::vector<Argument> a{{DNNL_ARG_SRC, Role::kInput, l.x, pd.src_desc()},
                          {DNNL_ARG_DIFF_DST, Role::kInput, l.y, pd.diff_dst_desc()},
                          {DNNL_ARG_DIFF_WEIGHTS, Role::kGradient, l.w, pd.diff_weights_desc()}};
  if (p.bias) a.push_back({DNNL_ARG_DIFF_BIAS, Role::kGradient, l.bias, l.bias});
  return {lib, p.name, pd, a};
}

}  // namespace

void Matmul::cpu(CpuContext& c) const {
  if (y.numel() == 0) return;
  const Problem p{kName, x.dim(0), x.dim(1), w.dim(0), x.dtype, w.dtype, bias.defined(), act, accumulate, w_reused};
  Plan& run = onednn::plan(c, p, forward_plan);
  if (p.bias) return run.run(c, {{x.data}, {w.data, w_version}, {y.data}, {bias.data}});
  run.run(c, {{x.data}, {w.data, w_version}, {y.data}});
}

void MatmulGradInput::cpu(CpuContext& c) const {
  if (dx.numel() == 0) return;
  const Problem p{kName, dx.dim(0), dx.dim(1), w.dim(0), dz.dtype, w.dtype, false, Act::kNone, accumulate};
  onednn::plan(c, p, backward_data_plan).run(c, {{dz.data}, {w.data, w_version}, {dx.data}});
}

void MatmulGradWeight::cpu(CpuContext& c) const {
  if (x.numel() == 0) {
    onednn::no_gradient(dw, accumulate_w);
    onednn::no_gradient(db, accumulate_b);
    return;
  }
  Problem p{kName, x.dim(0), x.dim(1), dz.dim(1), x.dtype, DType::kF32, db.defined()};
  if (is_long(p) && p.bias) {
    column_sums(c, dz, db, accumulate_b);
    p.bias = false;
  }
  Plan& run = onednn::plan(c, p, backward_weights_plan);
  if (p.bias) return run.run(c, {{x.data}, {dz.data}, {dw.data, 0, accumulate_w}, {db.data, 0, accumulate_b}});
  run.run(c, {{x.data}, {dz.data}, {dw.data, 0, accumulate_w}});
}

}  // namespace sluice::kernels
