// The convolution op. The first layer of a network skips its input gradient: nothing before it is on the tape. The
// weight gradient follows the layer's rule, or comes from the residual activation that the layer was given.
#include "kernels/conv2d.h"

#include "engine/launch.h"
#include "engine/ops/weight_rule.h"
#include "kernels/auxiliary_bias.h"
#include "kernels/conv_taps.h"
#include "kernels/expand_signs.h"
#include "kernels/sign_grad_weight.h"

namespace sluice {
namespace {

kernels::Conv2dGeometry geometry(const Conv2dSpec& s) {
  return {.stride = s.stride, .padding = s.padding, .groups = s.groups};
}

/// A convolution that is a product of matrices: a row for each pixel.
bool is_product(const Conv2dParams& p) {
  return p.weight.shape[1] == 1 && p.weight.shape[2] == 1 && p.spec.stride == 1 && p.spec.padding == ByAxis(0);
}

/// The same elements under another shape.
template <class R>
R seen_as(const R& r, const Shape& shape) {
  R other = r;
  other.shape = shape;
  return other;
}

struct Gradients {
  GradSlot w, b;
};

constexpr int64_t kExpanded = int64_t{4} << 20;  // bytes of signs that are expanded at a time

/// Images at a time, of whole bytes of bits.
int64_t images_at_once(const Shape& in, DType t) {
  const int64_t image = std::max<int64_t>(1, in[1] * in[2] * in[3]);
  const int64_t most = std::max<int64_t>(1, kExpanded / (image * size_of(t)));
  return image % 8 == 0 ? most : (most + 7) / 8 * 8;
}

/// From packed signs: as one product, or expanded a few images at a time.
void sign_grad_weight(BackwardCtx& c, const Conv2dParams& p, const Shape& in, const Tensor& bits, const Tensor& dy,
                      const Gradients& g) {
  const float scale = p.rule.scale * p.rule.epsilon, zero = p.rule.after_relu ? 0.0f : -1.0f;
  const int64_t filters = p.weight.shape[0];
  if (is_product(p)) {
    launch(kernels::SignGradWeight{.bits = bits.cref(),
                                   .dz = seen_as(dy.cref(), {dy.shape().rows(), filters}),
                                   .dw = seen_as(g.w.ref, {filters, in[3]}),
                                   .db = g.b.ref,
                                   .scale = scale,
                                   .zero = zero,
                                   .accumulate_w = g.w.accumulate,
                                   .accumulate_b = g.b.accumulate},
           c.stream);
    return;
  }
  const int64_t image = in[1] * in[2] * in[3], step = images_at_once(in, dy.dtype());
  int64_t first = 0;
  do {  // once without images, too: then the gradient is 0
    const int64_t count = std::min(step, in[0] - first);
    const Tensor signs = c.empty({count, in[1], in[2], in[3]}, dy.dtype(), MemoryTag::kWorkspace);
    launch(kernels::ExpandSigns{.bits = bits.rows(first * image / 8, packed_bytes(count * image)).cref(),
                                .y = signs.ref(),
                                .one = scale,
                                .zero = scale * zero},
           c.stream);
    launch(kernels::Conv2dGradWeight{.x = signs.cref(),
                                     .dy = dy.rows(first, count).cref(),
                                     .dw = g.w.ref,
                                     .db = g.b.ref,
                                     .geometry = geometry(p.spec),
                                     .accumulate_w = g.w.accumulate || first > 0,
                                     .accumulate_b = g.b.accumulate || first > 0},
           c.stream);
    first += count;
  } while (first < in[0]);
}

/// From a vector: the sums of dy under each tap are all that is needed (spec of Woo and Jeon's closed form).
void bias_grad_weight(BackwardCtx& c, const Conv2dParams& p, const Shape& in, const Tensor& dy, const Gradients& g) {
  const Shape& w = p.weight.shape;
  const int64_t taps = w[0] * w[1] * w[2];
  const Tensor sums = c.empty({w[0], w[1], w[2]}, DType::kF32, MemoryTag::kWorkspace);
  launch(kernels::TapSums{.dy = dy.cref(),
                          .sums = sums.ref(),
                          .db = g.b.ref,
                          .image = {in[1], in[2]},
                          .geometry = geometry(p.spec),
                          .accumulate_b = g.b.accumulate},
         c.stream);
  const GradSlot da = c.arena.grad(p.rule.auxiliary);
  launch(kernels::AuxiliaryBiasGrad{.dz = seen_as(sums.cref(), {1, taps}),
                                    .w = seen_as(c.weights.at(p.weight).ref, {taps, w[3]}),
                                    .a = c.weights.at(p.rule.auxiliary).ref,
                                    .dw = seen_as(g.w.ref, {taps, w[3]}),
                                    .db = {},
                                    .da = da.ref,
                                    .scale = p.rule.scale,
                                    .accumulate_w = g.w.accumulate,
                                    .accumulate_a = da.accumulate},
         c.stream);
}

struct Conv2dFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    deferred = Saved(dy, SaveKind::kDeferred, &c.ledger);
    if (!needs(0)) return {};
    const Weight w = c.weights.at(params.weight);
    Tensor dx = c.empty(in, dy.dtype());
    launch(
        kernels::Conv2dGradInput{
            .dy = dy.cref(), .w = w.ref, .dx = dx.ref(), .geometry = geometry(params.spec), .w_version = w.version},
        c.stream);
    return {dx};
  }
  void backward_weight(BackwardCtx& c) override {
    const Gradients g{c.arena.grad(params.weight), params.bias.index < 0 ? GradSlot{} : c.arena.grad(params.bias)};
    switch (params.rule.from) {
      case Auxiliary::kEightBits:
        kept = eight_bits.whole(c, in, deferred.tensor().dtype());
        [[fallthrough]];
      case Auxiliary::kNone:
        launch(kernels::Conv2dGradWeight{.x = kept.cref(),
                                         .dy = deferred.cref(),
                                         .dw = g.w.ref,
                                         .db = g.b.ref,
                                         .geometry = geometry(params.spec),
                                         .accumulate_w = g.w.accumulate,
                                         .accumulate_b = g.b.accumulate},
               c.stream);
        break;
      case Auxiliary::kSign:
        sign_grad_weight(c, params, in, kept.tensor(), deferred.tensor(), g);
        break;
      case Auxiliary::kBias:
        bias_grad_weight(c, params, in, deferred.tensor(), g);
        break;
    }
    kept.reset();
    deferred.reset();
  }
  Conv2dParams params;
  Shape in;
  Saved kept, deferred;  // kept: the input or the residual activation, or packed signs, or nothing
  EightBits eight_bits;
};

/// What the filters are applied to, its packed signs where they are wanted, and the bias.
struct Prepared {
  Tensor x, bits, taps, bias;
};
Prepared prepare(Ctx& c, const Tensor& x, const Conv2dParams& p, bool keep) {
  Prepared in{.x = x, .bits = {}, .taps = {}, .bias = {}};
  const Shape& w = p.weight.shape;
  if (p.rule.from != Auxiliary::kNone && p.spec.groups != 1) throw ConfigError("conv2d: a weight rule needs 1 group");
  if (p.rule.from == Auxiliary::kSign) {
    in.x = c.empty(x.shape(), x.dtype());
    if (keep) in.bits = c.empty({packed_bytes(x.numel())}, DType::kU8);
    add_sign(c, x, p.rule, in.x, in.bits);
  }
  if (p.rule.from == Auxiliary::kBias) {  // the bias of a pixel that all taps of its filter see
    const int64_t taps = w[0] * w[1] * w[2];
    in.taps = c.empty({w[0], w[1], w[2]});
    in.bias = c.empty({w[0]});
    launch(kernels::AuxiliaryBias{.w = seen_as(c.weight(p.weight).ref, {taps, w[3]}),
                                  .a = c.weight(p.rule.auxiliary).ref,
                                  .y = seen_as(in.taps.ref(), {taps})},
           c.stream);
    launch(
        kernels::TapTotals{
            .taps = in.taps.cref(), .bias = p.bias.index < 0 ? ConstRef{} : c.weight(p.bias).ref, .y = in.bias.ref()},
        c.stream);
  }
  return in;
}

}  // namespace

Var conv2d(Ctx& c, const Var& x, const Conv2dParams& p, const Tensor& residual) {
  expect_rank("conv2d", "x", x.shape(), 4);
  if (residual.defined()) {
    expect_shape("conv2d", "residual", residual.shape(), x.shape());
    if (p.rule.from != Auxiliary::kNone)
      throw ConfigError("conv2d: a weight rule and a residual activation, expected one");
  }
  const kernels::Conv2dGeometry g = geometry(p.spec);
  const Shape& filters = p.weight.shape;
  if (g.stride < 1) throw ShapeError(str("conv2d: stride ", g.stride, ", expected 1 or more"));
  const bool record = c.recording({x}, true);
  const Weight w = c.weight(p.weight);
  const Prepared in = prepare(c, x.value, p, record);
  const ConstRef vector = p.rule.from == Auxiliary::kBias ? c.weight(p.rule.auxiliary).ref : ConstRef{};
  indicate(c, x.value, p.rule, x.shape()[0], {.vector = vector, .residual = residual});
  ConstRef bias = p.bias.index < 0 ? ConstRef{} : c.weight(p.bias).ref;
  if (in.bias.defined()) bias = in.bias.cref();
  Tensor y = c.empty({x.shape()[0], g.rows(x.shape()[1], filters[1]), g.columns(x.shape()[2], filters[2]), filters[0]},
                     x.value.dtype());
  launch(
      kernels::Conv2d{.x = in.x.cref(), .w = w.ref, .bias = bias, .y = y.ref(), .geometry = g, .w_version = w.version},
      c.stream);
  if (in.taps.defined() && !(g.padding == ByAxis(0)))
    launch(
        kernels::TapBorder{.taps = in.taps.cref(), .y = y.ref(), .image = {x.shape()[1], x.shape()[2]}, .geometry = g},
        c.stream);
  if (!record) return {y};
  auto f = std::make_unique<Conv2dFn>();
  f->params = p;
  f->in = x.shape();
  if (residual.defined())
    f->kept = c.save(SaveKind::kAux, residual);
  else if (p.rule.from == Auxiliary::kNone)
    f->kept = c.save(SaveKind::kActivation, x.value);
  else if (p.rule.from == Auxiliary::kSign)
    f->kept = c.save(SaveKind::kBits, in.bits);
  if (p.rule.from == Auxiliary::kEightBits) f->eight_bits = EightBits(c, x.value);
  return c.tape->record(std::move(f), y, {x}, true);
}

}  // namespace sluice
