// Convolutions whose weight gradient comes from auxiliary activations: the worked examples of the method, weight
// gradients against their definition, exact gradients of everything else, and what is kept.
#include "kernels/common/bits.h"
#include "layers/conv2d.h"
#include "tests/kernels/recorded.h"

namespace sluice::test::auxiliary_conv_test {
namespace {

using AuxiliaryConvTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AuxiliaryConvTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;

struct Case {
  Shape in{2, 5, 6, 3};
  int64_t filters = 4;
  int window = 3;
  Conv2dSpec spec{.stride = 1, .padding = 1};
};
const std::vector<Case> kCases{{},
                               {{3, 4, 4, 8}, 5, 1, {}},
                               {{2, 7, 5, 3}, 4, 3, {.stride = 2, .padding = 1}},
                               {{2, 6, 6, 4}, 6, 1, {.stride = 2}},
                               {{1, 8, 8, 3}, 2, 7, {.stride = 2, .padding = 3}}};

/// One step of a convolution; dy is given.
struct Step {
  Step(const Stream& s, const Case& of, const WeightRule& rule, const Tensor& x_value, const Tensor& residual = {})
      : layer(init.scope("conv"), {of.in[3], of.filters, of.window}, of.spec, true, rule), pass(s, init) {
    Ctx c = pass.ctx();
    c.indicators = &indicators;
    const Var x = pass.tape.leaf(x_value);
    const Var y = residual.defined() ? layer.forward(c, x, residual) : layer.forward(c, x);
    value = to_double(s, y.value);
    aux = pass.ledger.bytes(SaveKind::kAux);
    bits = pass.ledger.bytes(SaveKind::kBits);
    activation = pass.ledger.bytes(SaveKind::kActivation);
    dy = random(s, y.shape(), 9);
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward({{y, dy}}, b);
    dx = to_double(s, pass.tape.take_grad(x));
    EXPECT_EQ(pass.ledger.bytes(), 0);
  }
  Values param(const std::string& name, bool gradient = true) {
    const Arena& a = pass.arena;
    for (size_t i = 0; i < a.specs().size(); ++i)
      if (a.specs()[i].path == "conv." + name)
        return to_double(pass.stream,
                         (gradient ? a.grads() : a.values()).flat_view(a.offset(int(i)), a.specs()[i].shape));
    ADD_FAILURE() << name;
    return {};
  }
  Init init;
  Conv2d layer;
  Recorded pass;
  std::vector<Tensor> indicators;
  Tensor dy;
  Values value, dx;
  int64_t aux = 0, bits = 0, activation = 0;
};

Shape out_of(const Case& c) {
  const auto side = [&](int64_t in) { return (in + 2 * c.spec.padding.rows - c.window) / c.spec.stride + 1; };
  return {c.in[0], side(c.in[1]), side(c.in[2]), c.filters};
}

/// y and dw of a convolution by its definition: h is multiplied, dw comes from a.
struct Reference {
  Reference(const Case& of, Step& step, const Values& h, const Values& a) {
    const Values w = step.param("weight", false), b = step.param("bias", false),
                 dy = to_double(step.pass.stream, step.dy);
    const Shape &in = of.in, out = out_of(of);
    dw.resize(w.size());
    for (int64_t n = 0; n < out[0]; ++n)
      for (int64_t p = 0; p < out[1]; ++p)
        for (int64_t q = 0; q < out[2]; ++q)
          for (int64_t k = 0; k < out[3]; ++k) {
            const double d = dy[y.size()];
            y.push_back(b[size_t(k)]);
            for (int64_t r = 0; r < of.window; ++r)
              for (int64_t s = 0; s < of.window; ++s) {
                const int64_t i = p * of.spec.stride - of.spec.padding.rows + r,
                              j = q * of.spec.stride - of.spec.padding.columns + s;
                if (i < 0 || i >= in[1] || j < 0 || j >= in[2]) continue;
                for (int64_t c = 0; c < in[3]; ++c) {
                  const auto from = size_t(((n * in[1] + i) * in[2] + j) * in[3] + c);
                  const auto weight = size_t(((k * of.window + r) * of.window + s) * in[3] + c);
                  y.back() += h[from] * w[weight];
                  dw[weight] += d * a[from];
                }
              }
          }
  }
  Values y, dw;
};

void expect_reference(Step& step, const Case& of, const Values& h, const Values& a, double scale) {
  Reference r(of, step, h, a);
  for (double& v : r.dw) v *= scale;
  expect_close(step.value, r.y, bound(DType::kF32));
  expect_close(step.param("weight"), r.dw, bound(DType::kF32));
}

TEST_P(AuxiliaryConvTest, SignsOfTheInputAreKeptAndMakeTheWeightGradient) {
  const Stream s(device());
  for (const Case& of : kCases)
    for (const bool after_relu : {false, true}) {
      SCOPED_TRACE(of.in.text());
      std::vector<float> v = random_values(of.in.numel(), 1, after_relu ? 0.0f : -1.0f, 1);
      for (size_t i = 0; i < v.size(); i += 5) v[i] = 0;
      const Tensor x = Tensor::from<float>(s, v, of.in);
      Step step(s, of, {.from = Auxiliary::kSign, .scale = 7, .epsilon = 0.25f, .after_relu = after_relu}, x);
      Values h, a;
      for (const float e : v) {
        a.push_back(e > 0 ? 1 : after_relu ? 0 : -1);
        h.push_back(double(e) + 0.25 * a.back());
      }
      expect_reference(step, of, h, a, 7 * 0.25);
      EXPECT_EQ(step.bits, packed_bytes(of.in.numel()));
      EXPECT_EQ(step.activation + step.aux, 0);
      for (const double li : to_double(s, step.indicators.at(0))) EXPECT_GE(li, 0.0);
    }
}

TEST_P(AuxiliaryConvTest, ALearnedVectorNeedsNothingKept) {
  const Stream s(device());
  for (const Case& of : kCases) {
    SCOPED_TRACE(of.in.text());
    const Tensor x = random(s, of.in, 1);
    Step step(s, of, {.from = Auxiliary::kBias, .scale = 3}, x);
    const Values vector = step.param("auxiliary_bias", false);
    Values h = to_double(s, x), a(h.size());
    for (size_t i = 0; i < h.size(); ++i) h[i] += a[i] = vector[i % vector.size()];
    expect_reference(step, of, h, a, 3);
    EXPECT_EQ(step.activation + step.aux + step.bits, 0);
    EXPECT_EQ(step.indicators.size(), 1u);
  }
}

TEST_P(AuxiliaryConvTest, AResidualActivationIsKeptInPlaceOfTheInput) {
  const Stream s(device());
  for (const Case& of : kCases) {
    SCOPED_TRACE(of.in.text());
    const Tensor x = random(s, of.in, 1), earlier = random(s, of.in, 2);
    Step step(s, of, {}, x, earlier);
    expect_reference(step, of, to_double(s, x), to_double(s, earlier), 1);
    EXPECT_EQ(step.aux, earlier.bytes());
    EXPECT_EQ(step.activation + step.bits, 0);
    const Step backprop(s, of, {}, x);
    EXPECT_EQ(step.value, backprop.value);
    EXPECT_EQ(step.dx, backprop.dx);
    EXPECT_TRUE(backprop.indicators.empty());
  }
}

TEST_P(AuxiliaryConvTest, EightBitsOfTheInputGiveTheWeightGradientToAHundredth) {
  const Stream s(device());
  for (const Case& of : kCases) {
    SCOPED_TRACE(of.in.text());
    const Tensor x = random(s, of.in, 1);
    Step step(s, of, {.from = Auxiliary::kEightBits}, x), exact(s, of, {}, x);
    EXPECT_EQ(step.value, exact.value);
    EXPECT_EQ(step.dx, exact.dx);
    EXPECT_EQ(step.activation, of.in.numel()) << "a byte an element";
    const double error = normalised_error(step.param("weight"), exact.param("weight"));
    EXPECT_LT(error, 1e-2);
    EXPECT_GT(error, 0);
  }
}

TEST_P(AuxiliaryConvTest, GradientsOfInputBiasAndVectorAreExact) {
  const Stream s(device());
  for (const Case& of : kCases) {
    SCOPED_TRACE(of.in.text());
    Init init;
    const Conv2d layer(init.scope("conv"), {of.in[3], of.filters, of.window}, of.spec, true,
                       {.from = Auxiliary::kBias});
    for (const char* exact : {"bias"})  // "conv.bias" and "conv.auxiliary_bias"
      check_gradients(s, init, {random(s, of.in, 1)},
                      [&](Ctx& c, const std::vector<Var>& in) { return layer.forward(c, in[0]); }, {.params = exact});
  }
}

TEST_P(AuxiliaryConvTest, ManyImagesAreExpandedInPieces) {  // 3 MB of signs an image at most
  const Stream s(device());
  const Case of{{5, 64, 64, 100}, 1, 3, {.stride = 2, .padding = 1}};
  const Tensor x = random(s, of.in, 1);
  Step step(s, of, {.from = Auxiliary::kSign}, x);
  Values h = to_double(s, x), a(h.size());
  for (size_t i = 0; i < h.size(); ++i) h[i] += 0.01f * (a[i] = h[i] > 0 ? 1 : -1);
  expect_reference(step, of, h, a, 1);
}

TEST_P(AuxiliaryConvTest, TheWorkedExamples) {
  const Stream s(device());
  const Case of{{1, 2, 2, 8}, 1, 3, {.stride = 1, .padding = 1}};
  std::vector<float> x(32);  // NHWC: channel 0 holds 1 0 2 3, channel 1 0 4 0 1
  const float channels[2][4] = {{1, 0, 2, 3}, {0, 4, 0, 1}};
  for (size_t p = 0; p < 4; ++p)
    for (size_t c = 0; c < 2; ++c) x[p * 8 + c] = channels[c][p];
  const auto run = [&](const WeightRule& rule) {
    Init init;
    const Conv2d layer(init.scope("conv"), {8, 1, 3}, of.spec, true, rule);
    Recorded pass(s, init);
    const auto param = [&](const Tensor& all, const std::string& name) {
      for (size_t i = 0; i < pass.arena.specs().size(); ++i)
        if (pass.arena.specs()[i].path == "conv." + name)
          return all.flat_view(pass.arena.offset(int(i)), pass.arena.specs()[i].shape);
      return Tensor();
    };
    param(pass.arena.values(), "weight").assign<float>(s, std::vector<float>(72, 1.0f));
    param(pass.arena.values(), "bias").assign<float>(s, std::vector<float>(1, 0.0f));
    if (rule.from == Auxiliary::kBias)
      param(pass.arena.values(), "auxiliary_bias").assign<float>(s, std::vector<float>{0.5f, -0.25f, 0, 0, 0, 0, 0, 0});
    pass.arena.bump_version();
    Ctx c = pass.ctx();
    const Var in = pass.tape.leaf(Tensor::from<float>(s, x, of.in)), y = layer.forward(c, in);
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward({{y, Tensor::from<float>(s, std::vector<float>{1, -1, 2, 0}, {1, 2, 2, 1})}}, b);
    Values dw = to_double(s, param(pass.arena.grads(), "weight")), first, second;
    for (size_t tap = 0; tap < 9; ++tap) {
      first.push_back(dw[tap * 8]);
      second.push_back(dw[tap * 8 + 1]);
    }
    const Values dx = to_double(s, pass.tape.take_grad(in)), db = to_double(s, param(pass.arena.grads(), "bias"));
    const Values da =
        rule.from == Auxiliary::kBias ? to_double(s, param(pass.arena.grads(), "auxiliary_bias")) : Values{};
    return std::tuple{to_double(s, y.value), first, second, dx, db, da};
  };
  {
    const auto [y, first, second, dx, db, da] = run({.from = Auxiliary::kSign, .after_relu = true});
    for (const double v : y) EXPECT_NEAR(v, 11.05, 1e-5);
    expect_close(first, {0, 2, 0, -1, 3, 2, -1, 0, 1}, 1e-6);
    expect_close(second, {0, 0, 2, 0, -1, 3, 0, -1, 1}, 1e-6);
    EXPECT_EQ(dx, Values(32, 2.0));
    EXPECT_EQ(db, Values{2});
  }
  {
    const auto [y, first, second, dx, db, da] = run({.from = Auxiliary::kBias});
    for (const double v : y) EXPECT_NEAR(v, 12, 1e-5);
    expect_close(first, {0, 100, 100, -50, 100, 150, -50, 0, 50}, 1e-6);
    for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(second[i], -0.5 * first[i], 1e-4);
    expect_close(da, Values(8, 8.0), 1e-6);
    EXPECT_EQ(dx, Values(32, 2.0));
  }
}

TEST_P(AuxiliaryConvTest, AGroupOfTwoSharesOneActivation) {  // two 1x1 convolutions, the input added after each
  const Stream s(device());
  Init init;
  const Conv2d one(init.scope("one"), {1, 1, 1}, {}, false), two(init.scope("two"), {1, 1, 1}, {}, false);
  Recorded pass(s, init);
  const int64_t at[] = {pass.arena.offset(0), pass.arena.offset(1)};
  pass.arena.values().flat_view(at[0], {1}).assign<float>(s, std::vector<float>{2});
  pass.arena.values().flat_view(at[1], {1}).assign<float>(s, std::vector<float>{3});
  pass.arena.bump_version();
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(Tensor::from<float>(s, std::vector<float>{1, 2}, {1, 1, 2, 1}));
  const Var a = add(c, one.forward(c, x, x.value), x), y = add(c, two.forward(c, a, x.value), a);
  EXPECT_EQ(to_double(s, y.value), (Values{12, 24}));
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kAux), 2 * 4) << "once for both";
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{y, Tensor::from<float>(s, std::vector<float>{1, -1}, {1, 1, 2, 1})}}, b);
  EXPECT_EQ(to_double(s, pass.arena.grads().flat_view(at[0], {1})), Values{-4});
  EXPECT_EQ(to_double(s, pass.arena.grads().flat_view(at[1], {1})), Values{-1});
  EXPECT_EQ(to_double(s, pass.tape.take_grad(x)), (Values{12, -12}));
}

TEST_P(AuxiliaryConvTest, WhatDoesNotFitIsRefused) {
  const Stream s(device());
  Init init;
  const Conv2d grouped(init.scope("a"), {4, 4, 3}, {.padding = 1, .groups = 2}, true, {.from = Auxiliary::kSign});
  const Conv2d signs(init.scope("b"), {4, 4, 3}, {.padding = 1}, true, {.from = Auxiliary::kSign});
  Recorded pass(s, init);
  Ctx c = pass.ctx();
  const Var x{random(s, {1, 3, 3, 4}, 1)};
  EXPECT_THROW(grouped.forward(c, x), ConfigError);
  EXPECT_THROW(signs.forward(c, x, x.value), ConfigError);
  EXPECT_THROW(signs.forward(c, x, random(s, {1, 3, 4, 4}, 1)), ShapeError);
}

}  // namespace
}  // namespace sluice::test::auxiliary_conv_test
