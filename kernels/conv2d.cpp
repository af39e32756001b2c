// CPU halves of the convolutions: oneDNN with packed filters; which layout and implementation is a rule of the shape.
#include "kernels/conv2d.h"

#include <algorithm>

#include "kernels/common/onednn.h"

namespace sluice::kernels {
namespace {

using onednn::Argument;
using onednn::Desc;
using onednn::Plan;
using onednn::Role;
using onednn::Tag;
using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;

/// Everything that decides a plan.
struct Problem {
  const char* name;
  Shape x, w, y;
  DType dtype, w_dtype;
  Conv2dGeometry geometry;
  bool bias;

  std::vector<int64_t> key(const CpuContext& c) const {
    return {x[0],
            x[1],
            x[2],
            x[3],
            w[0],
            w[1],
            w[2],
            geometry.stride,
            geometry.padding.rows,
            geometry.padding.columns,
            geometry.groups,
            bias,
            c.team,
            int64_t(dtype),
            int64_t(w_dtype)};
  }
};

/// How a problem is given to the library.
struct Choice {
  bool blocked = false;             // activations reordered into the library's own layout and back
  const char* implementation = "";  // "": the library's first
};

// The rules below are the outcome of timing every non-reference implementation of oneDNN 2.6.3, with NHWC and with
// blocked activations (reorders counted), on one core of a Xeon with AVX-512 and 2 MB of L2: f32, N 32 and 128,
// 3 x 3 filters, C and K of 1, 3, 16 ... 512, images of 2 x 2 ... 56 x 56, minimum of 7 to 9 interleaved runs.
// NHWC with packed filters was the fastest or within 8 % of it, but for the cases named here.

/// 4 x 4 images with hundreds of channels: a pixel's channels lie a multiple of 1 KB apart, so NHWC meets the same
/// cache sets again and again; blocked wins by 8 to 37 % in all directions (smaller images: the reorders eat the gain).
bool wants_blocks(const Problem& p) {
  const int64_t pixels = p.y[1] * p.y[2];
  return p.dtype == DType::kF32 && p.geometry.groups == 1 && p.w[1] > 1 && std::min(p.x[3], p.w[0]) >= 256 &&
         pixels > 4 && pixels <= 16;
}

Choice choose_forward(const Problem& p) {
  if (p.dtype != DType::kF32 || p.w[1] * p.w[2] == 1 || p.geometry.groups > 1) return {};
  const int64_t pixels = p.y[1] * p.y[2];
  const bool wide = std::min(p.x[3], p.w[0]) >= 512 && pixels > 4 && pixels <= 64;  // blocked: 8 to 10 % faster
  if (wide || wants_blocks(p)) return {true, ""};
  // The library's first choice, brgconv, is up to 40 % slower with few channels and up to 3 times slower when the
  // filters outgrow the cache; on small images between the two it is up to 30 % faster.
  const bool brgconv = std::min(p.x[3], p.w[0]) >= 64 && p.w.numel() * 4 <= (1 << 20) && p.y[2] >= 4;
  return {false, brgconv ? "brgconv" : "jit:avx512"};
}

Choice choose_backward_data(const Problem& p) {
  const int64_t pixels = p.y[1] * p.y[2];
  const bool small = p.dtype == DType::kF32 && p.geometry.groups == 1 && p.w[1] > 1 && std::min(p.x[3], p.w[0]) >= 32 &&
                     std::max(p.x[3], p.w[0]) <= 128 && pixels > 16 && pixels <= 64;  // blocked: 15 to 25 % faster
  if (small || wants_blocks(p)) return {true, ""};
  if (p.dtype != DType::kF32 || p.geometry.groups > 1 || p.x[3] > 3) return {};
  // With 1 or 3 image channels the direct kernel wastes its vectors: GEMM is 1.5 to 3 times faster. For few filters
  // its copies cost more than they gain, but for 1 channel in NCHW; the shorter vectors waste less.
  if (p.w[0] >= 32) return {false, "gemm"};
  return p.x[3] == 1 ? Choice{true, "gemm"} : Choice{false, "jit:avx2"};
}

Choice choose_backward_weights(const Problem& p) {
  if (wants_blocks(p)) return {true, ""};
  // The direct kernel's accumulators spill for wide outputs of 1 or 3 channels: GEMM is 1.6 to 2.5 times faster.
  const bool gemm = p.dtype == DType::kF32 && p.geometry.groups == 1 && p.x[3] <= 3 && p.w[0] > 64;
  return {false, gemm ? "gemm" : ""};
}

/// The operands as the caller holds them, and as the library is asked for them.
struct Layouts {
  Desc x, w, bias, y;  // plain
  Desc want_x, want_w, want_b, want_y;
  onednn::Dims strides, padding;
  dnnl::primitive_attr attributes;
};

/// `filters`: the dtype in which the primitive reads or writes the filters.
Layouts layouts(const Problem& p, const Choice& choice, DType filters) {
  const auto t = onednn::data_type(p.dtype);
  const int64_t g = p.geometry.groups;
  const onednn::Dims x{p.x[0], p.x[3], p.x[1], p.x[2]}, y{p.y[0], p.y[3], p.y[1], p.y[2]};
  const onednn::Dims w =
      g == 1 ? onednn::Dims{p.w[0], p.w[3], p.w[1], p.w[2]} : onednn::Dims{g, p.w[0] / g, p.w[3], p.w[1], p.w[2]};
  Layouts l;
  l.x = Desc(x, t, Tag::nhwc);
  l.y = Desc(y, t, Tag::nhwc);
  l.w = Desc(w, onednn::data_type(p.w_dtype), g == 1 ? Tag::ohwi : Tag::gohwi);
  l.want_x = choice.blocked ? Desc(x, t, Tag::any) : l.x;
  l.want_y = choice.blocked ? Desc(y, t, Tag::any) : l.y;
  l.want_w = Desc(w, onednn::data_type(filters), Tag::any);
  if (p.bias) l.bias = l.want_b = Desc({p.w[0]}, dnnl::memory::data_type::f32, Tag::a);
  l.strides = {p.geometry.stride, p.geometry.stride};
  l.padding = {p.geometry.padding.rows, p.geometry.padding.columns};
  l.attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return l;
}

Forward::desc forward_desc(const Layouts& l, const Desc& filters) {
  return {dnnl::prop_kind::forward_training,
          dnnl::algorithm::convolution_direct,
          l.want_x,
          filters,
          l.want_b,
          l.want_y,
          l.strides,
          l.padding,
          l.padding};
}

Plan forward_plan(const Problem& p, onednn::Library& lib) {
  const Choice choice = choose_forward(p);
  const Layouts l = layouts(p, choice, p.dtype);
  const Forward::desc d = forward_desc(l, l.want_w);
  const auto pd = onednn::choose(Forward::primitive_desc(d, l.attributes, lib.engine), choice.implementation);
  std::vector<Argument> a{{DNNL_ARG_SRC, Role::kInput, l.x, pd.src_desc()},
                          {DNNL_ARG_WEIGHTS, Role::kWeight, l.w, pd.weights_desc()},
                          {DNNL_ARG_DST, Role::kOutput, l.y, pd.dst_desc()}};
  if (p.bias) a.push_back({DNNL_ARG_BIAS, Role::kInput, l.bias, l.bias});
  return {lib, p.name, pd, a};
}

Plan backward_data_plan(const Problem& p, onednn::Library& lib) {
  const Choice choice = choose_backward_data(p);
  const Layouts l = layouts(p, choice, p.dtype);
  const BackwardData::desc d(dnnl::algorithm::convolution_direct, l.want_x, l.want_w, l.want_y, l.strides, l.padding,
                             l.padding);
  const Forward::primitive_desc hint(forward_desc(l, l.want_w), l.attributes, lib.engine);
  const auto pd =
      onednn::choose(BackwardData::primitive_desc(d, l.attributes, lib.engine, hint), choice.implementation);
  return {lib,
          p.name,
          pd,
          {{DNNL_ARG_DIFF_DST, Role::kInput, l.y, pd.diff_dst_desc()},
           {DNNL_ARG_WEIGHTS, Role::kWeight, l.w, pd.weights_desc()},
           {DNNL_ARG_DIFF_SRC, Role::kOutput, l.x, pd.diff_src_desc()}}};
}

Plan backward_weights_plan(const Problem& p, onednn::Library& lib) {
  const Choice choice = choose_backward_weights(p);
  const Layouts l = layouts(p, choice, DType::kF32);
  const BackwardWeights::desc d(dnnl::algorithm::convolution_direct, l.want_x, l.want_w, l.want_b, l.want_y, l.strides,
                                l.padding, l.padding);
  const Forward::primitive_desc hint(forward_desc(l, layouts(p, choice, p.dtype).want_w), l.attributes, lib.engine);
  const auto pd =
      onednn::choose(BackwardWeights::primitive_desc(d, l.attributes, lib.engine, hint), choice.implementation);
  std::vector<Argument> a{{DNNL_ARG_SRC, Role::kInput, l.x, pd.src_desc()},
                          {DNNL_ARG_DIFF_DST, Role::kInput, l.y, pd.diff_dst_desc()},
                          {DNNL_ARG_DIFF_WEIGHTS, Role::kGradient, l.w, pd.diff_weights_desc()}};
  if (p.bias) a.push_back({DNNL_ARG_DIFF_BIAS, Role::kGradient, l.bias, l.bias});
  return {lib, p.name, pd, a};
}

}  // namespace

void Conv2d::cpu(CpuContext& c) const {
  if (y.numel() == 0) return;
  const Problem p{kName, x.shape, w.shape, y.shape, x.dtype, w.dtype, geometry, bias.defined()};
  Plan& run = onednn::plan(c, p, forward_plan);
  if (p.bias) return run.run(c, {{x.data}, {w.data, w_version}, {y.data}, {bias.data}});
  run.run(c, {{x.data}, {w.data, w_version}, {y.data}});
}

void Conv2dGradInput::cpu(CpuContext& c) const {
  if (dx.numel() == 0) return;
  const Problem p{kName, dx.shape, w.shape, dy.shape, dy.dtype, w.dtype, geometry, false};
  onednn::plan(c, p, backward_data_plan).run(c, {{dy.data}, {w.data, w_version}, {dx.data}});
}

void Conv2dGradWeight::cpu(CpuContext& c) const {
  if (dy.numel() == 0) {
    onednn::no_gradient(dw, accumulate_w);
    onednn::no_gradient(db, accumulate_b);
    return;
  }
  const Problem p{kName, x.shape, dw.shape, dy.shape, x.dtype, DType::kF32, geometry, db.defined()};
  Plan& run = onednn::plan(c, p, backward_weights_plan);
  if (p.bias) return run.run(c, {{x.data}, {dy.data}, {dw.data, 0, accumulate_w}, {db.data, 0, accumulate_b}});
  run.run(c, {{x.data}, {dy.data}, {dw.data, 0, accumulate_w}});
}

}  // namespace sluice::kernels
