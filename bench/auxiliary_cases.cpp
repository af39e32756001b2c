// Rows of the fused kernels of auxiliary activations, each against its naive twin: the passes over memory that it
// replaces, with our other kernels. Layers are a transformer's second feed-forward one (2048 tokens), MLP-Mixer's
// (16 images) and ResNet-50's 3x3 convolutions of the first stage (8 images of 224).
#include "bench/case.h"
#include "kernels/activation.h"
#include "kernels/add.h"
#include "kernels/add_positions.h"
#include "kernels/add_sign.h"
#include "kernels/auxiliary_bias.h"
#include "kernels/batch_norm.h"
#include "kernels/conv_taps.h"
#include "kernels/embedding.h"
#include "kernels/expand_signs.h"
#include "kernels/learning_indicator.h"
#include "kernels/matmul.h"
#include "kernels/packed_relu.h"
#include "kernels/sign_grad_weight.h"

namespace sluice::bench {
namespace {

constexpr Shape kMap{8, 56, 56, 64};
constexpr kernels::Conv2dGeometry k3x3{.stride = 1, .padding = 1, .groups = 1};
constexpr kernels::ImageSize kImage{56, 56};
constexpr float kEpsilon = 0.01f;

struct LinearLayer {
  int64_t rows, in, out;
};
constexpr LinearLayer kLinear[] = {{2048, 2048, 512}, {1024, 512, 128}};

/// Calls one after another.
struct Calls {
  Cost cost{};
  std::function<void(CpuContext&)> run;
};
template <KernelCall... K>
Calls calls(const std::vector<Tensor>& keep, const K&... k) {
  (k.check(), ...);
  const auto sum = [](Cost a, const Cost& b) {
    return Cost{a.read + b.read, a.written + b.written, a.flops + b.flops};
  };
  Calls all;
  ((all.cost = sum(all.cost, k.cost())), ...);
  all.run = [keep, k...](CpuContext& c) { (run_cpu(k, c), ...); };
  return all;
}

Case against(Calls ours, const char* name, const Calls& twin) {
  return {ours.cost, std::move(ours.run),
          [=] {
            return std::vector<Rival>{{name, twin.run, twin.cost.bytes()}};
          },
          "vs_twin"};
}

Tensor bits_of(const Stream& s, const Shape& shape) {
  return Tensor::empty(s, {packed_bytes(shape.numel())}, DType::kU8);
}
/// Packed signs of a pattern.
Tensor filled_bits(const Stream& s, const Shape& shape) {
  std::vector<uint8_t> bytes(size_t(packed_bytes(shape.numel())));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 167);
  return Tensor::from<uint8_t>(s, bytes, {int64_t(bytes.size())});
}
/// `row` [in], once for each row of `all`.
kernels::Embedding repeated(const Tensor& row, const Tensor& zeroes, const Tensor& all) {
  return {.ids = zeroes.cref(), .table = row.reshape({1, row.numel()}).cref(), .y = all.ref()};
}
Tensor zero_ids(const Stream& s, int64_t rows) {
  return Tensor::from<int32_t>(s, std::vector<int32_t>(size_t(rows)), {rows});
}
/// x + a for each row.
kernels::AddPositions added(const Tensor& x, const Tensor& a, const Tensor& y) {
  const Shape rows{x.shape().rows(), 1, x.shape().cols()};
  return {.x = x.reshape(rows).cref(), .positions = a.reshape({1, a.numel()}).cref(), .y = y.reshape(rows).ref()};
}

Case add_sign(const Stream& s, const LinearLayer& l) {
  const Tensor x = filled(s, {l.rows, l.in}), y = Tensor::empty(s, x.shape()), a = Tensor::empty(s, x.shape());
  const Tensor bits = bits_of(s, x.shape());
  const std::vector<Tensor> keep{x, y, a, bits};
  return against(calls(keep, kernels::AddSign{.x = x.cref(), .y = y.ref(), .bits = bits.ref(), .epsilon = kEpsilon}),
                 "pack, epsilon sign, add",
                 calls(keep, kernels::PackedRelu{.x = x.cref(), .bits = bits.ref()},
                       kernels::ExpandSigns{.bits = bits.cref(), .y = a.ref(), .one = kEpsilon, .zero = -kEpsilon},
                       kernels::Add{.a = x.cref(), .b = a.cref(), .y = y.ref()}));
}

Case sign_grad_weight(const Stream& s, const LinearLayer& l) {
  const Tensor signs = Tensor::empty(s, {l.rows, l.in}), bits = filled_bits(s, signs.shape());
  const Tensor dz = filled(s, {l.rows, l.out}), dw = filled(s, {l.out, l.in}), db = filled(s, {l.out});
  const std::vector<Tensor> keep{signs, bits, dz, dw, db};
  return against(
      calls(keep, kernels::SignGradWeight{.bits = bits.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref()}),
      "expand, product",
      calls(keep, kernels::ExpandSigns{.bits = bits.cref(), .y = signs.ref()},
            kernels::MatmulGradWeight{.x = signs.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref()}));
}

Case packed_relu(const Stream& s) {
  const Tensor x = filled(s, kMap), y = Tensor::empty(s, kMap), bits = bits_of(s, kMap);
  const std::vector<Tensor> keep{x, y, bits};
  return against(calls(keep, kernels::PackedRelu{.x = x.cref(), .y = y.ref(), .bits = bits.ref()}),
                 "ReLU that keeps its output",
                 calls(keep, kernels::Activation{.x = x.cref(), .y = y.ref(), .act = Act::kRelu}));
}

Case packed_relu_grad(const Stream& s) {
  const Tensor kept = filled(s, kMap), bits = filled_bits(s, kMap), dy = filled(s, kMap), dx = Tensor::empty(s, kMap);
  const std::vector<Tensor> keep{kept, bits, dy, dx};
  return against(
      calls(keep, kernels::PackedReluGrad{.bits = bits.cref(), .dy = dy.cref(), .dx = dx.ref()}),
      "ReLU that keeps its output",
      calls(keep, kernels::ActivationGrad{.kept = kept.cref(), .dy = dy.cref(), .dx = dx.ref(), .act = Act::kRelu}));
}

/// The end of a residual unit.
Case unit_tail(const Stream& s) {
  const Tensor x = filled(s, kMap), r = filled(s, kMap), y = Tensor::empty(s, kMap), bits = bits_of(s, kMap);
  const Tensor stats = Tensor::from<float>(s, std::vector<float>(size_t(4 * kMap.cols()), 1.0f), {4, kMap.cols()});
  const std::vector<Tensor> keep{x, r, y, bits, stats};
  return against(calls(keep, kernels::BatchNormApply{.x = x.cref(),
                                                     .stats = stats.cref(),
                                                     .residual = r.cref(),
                                                     .y = y.ref(),
                                                     .bits = bits.ref(),
                                                     .relu = true}),
                 "batch norm, add, ReLU with bits",
                 calls(keep, kernels::BatchNormApply{.x = x.cref(), .stats = stats.cref(), .y = y.ref()},
                       kernels::Add{.a = y.cref(), .b = r.cref(), .y = y.ref()},
                       kernels::PackedRelu{.x = y.cref(), .y = y.ref(), .bits = bits.ref()}));
}

/// Besides the product, which both have.
Case auxiliary_bias(const Stream& s, const LinearLayer& l) {
  const Tensor x = filled(s, {l.rows, l.in}), w = filled(s, {l.out, l.in}), a = filled(s, {l.in});
  const Tensor bias = filled(s, {l.out}), y = Tensor::empty(s, {l.out}), with = Tensor::empty(s, x.shape());
  const std::vector<Tensor> keep{x, w, a, bias, y, with};
  return against(calls(keep, kernels::AuxiliaryBias{.w = w.cref(), .a = a.cref(), .bias = bias.cref(), .y = y.ref()}),
                 "x + a", calls(keep, added(x, a, with)));
}

/// The twin leaves the vector's own gradient out, for which it would read dx.
Case auxiliary_bias_grad(const Stream& s, const LinearLayer& l) {
  const Tensor dz = filled(s, {l.rows, l.out}), w = filled(s, {l.out, l.in}), a = filled(s, {l.in});
  const Tensor dw = filled(s, {l.out, l.in}), db = filled(s, {l.out}), da = filled(s, {l.in});
  const Tensor all = Tensor::empty(s, {l.rows, l.in}), zeroes = zero_ids(s, l.rows);
  const std::vector<Tensor> keep{dz, w, a, dw, db, da, all, zeroes};
  return against(
      calls(keep,
            kernels::AuxiliaryBiasGrad{
                .dz = dz.cref(), .w = w.cref(), .a = a.cref(), .dw = dw.ref(), .db = db.ref(), .da = da.ref()}),
      "repeat, product",
      calls(keep, repeated(a, zeroes, all),
            kernels::MatmulGradWeight{.x = all.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref()}));
}

/// What a 3x3 convolution has for a vector.
struct Taps {
  Tensor w, a, sums, bias;
  ConstRef flat_w() const { return w.reshape({sums.numel(), w.shape()[3]}).cref(); }
};
Taps taps(const Stream& s) {
  const int64_t c = kMap.cols();
  return {filled(s, {c, 3, 3, c}), filled(s, {c}), filled(s, {c, 3, 3}), filled(s, {c})};
}

/// Besides the convolution, which both have.
Case tap_bias(const Stream& s) {
  const Taps t = taps(s);
  const Tensor x = filled(s, kMap), y = filled(s, kMap), with = Tensor::empty(s, kMap);
  const std::vector<Tensor> keep{t.w, t.a, t.sums, t.bias, x, y, with};
  return against(
      calls(keep, kernels::AuxiliaryBias{.w = t.flat_w(), .a = t.a.cref(), .y = t.sums.reshape({t.sums.numel()}).ref()},
            kernels::TapTotals{.taps = t.sums.cref(), .y = t.bias.ref()},
            kernels::TapBorder{.taps = t.sums.cref(), .y = y.ref(), .image = kImage, .geometry = k3x3}),
      "x + a", calls(keep, added(x, t.a, with)));
}

/// The twin leaves the vector's own gradient out, for which it would read dx.
Case tap_grad(const Stream& s) {
  const Taps t = taps(s);
  const Tensor dy = filled(s, kMap), dw = filled(s, t.w.shape()), db = filled(s, t.a.shape()),
               da = filled(s, t.a.shape());
  const Tensor all = Tensor::empty(s, kMap), zeroes = zero_ids(s, kMap.rows());
  const std::vector<Tensor> keep{t.w, t.a, t.sums, dy, dw, db, da, all, zeroes};
  const Shape flat = t.flat_w().shape;
  return against(
      calls(keep,
            kernels::TapSums{.dy = dy.cref(), .sums = t.sums.ref(), .db = db.ref(), .image = kImage, .geometry = k3x3},
            kernels::AuxiliaryBiasGrad{.dz = t.sums.reshape({1, t.sums.numel()}).cref(),
                                       .w = t.flat_w(),
                                       .a = t.a.cref(),
                                       .dw = dw.reshape(flat).ref(),
                                       .db = {},
                                       .da = da.ref()}),
      "repeat, convolution",
      calls(keep, repeated(t.a, zeroes, all.reshape({kMap.rows(), kMap.cols()})),
            kernels::Conv2dGradWeight{
                .x = all.cref(), .dy = dy.cref(), .dw = dw.ref(), .db = db.ref(), .geometry = k3x3}));
}

Case learning_indicator(const Stream& s, const LinearLayer& l) {
  const Tensor x = filled(s, {l.rows, l.in}), a = Tensor::empty(s, x.shape()), h = Tensor::empty(s, x.shape());
  const Tensor bits = bits_of(s, x.shape()), y = Tensor::empty(s, {l.rows});
  const std::vector<Tensor> keep{x, a, h, bits, y};
  return against(calls(keep, kernels::LearningIndicator{.x = x.cref(), .y = y.ref(), .epsilon = kEpsilon}),
                 "pack, epsilon sign, add, sums",
                 calls(keep, kernels::PackedRelu{.x = x.cref(), .bits = bits.ref()},
                       kernels::ExpandSigns{.bits = bits.cref(), .y = a.ref(), .one = kEpsilon, .zero = -kEpsilon},
                       kernels::Add{.a = x.cref(), .b = a.cref(), .y = h.ref()},
                       kernels::LearningIndicator{.x = h.cref(), .residual = a.cref(), .y = y.ref()}));
}

}  // namespace

std::vector<Row> auxiliary_rows() {
  std::vector<Row> rows{{"packed_relu/forward", packed_relu},
                        {"packed_relu/grad", packed_relu_grad},
                        {"batch_norm/unit_tail", unit_tail},
                        {"conv_taps/forward", tap_bias},
                        {"conv_taps/grad", tap_grad}};
  for (const LinearLayer& l : kLinear) {
    const auto add = [&](const char* name, Case (*make)(const Stream&, const LinearLayer&)) {
      rows.push_back(
          {str(name, "/", l.rows, "x", l.in, "_to_", l.out), [l, make](const Stream& s) { return make(s, l); }});
    };
    add("add_sign", add_sign);
    add("sign_grad_weight", sign_grad_weight);
    add("auxiliary_bias", auxiliary_bias);
    add("auxiliary_bias_grad", auxiliary_bias_grad);
    add("learning_indicator", learning_indicator);
  }
  return rows;
}

}  // namespace sluice::bench
