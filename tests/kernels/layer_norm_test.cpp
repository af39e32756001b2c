// Layer norm in both forms against the formulas in double, its gradients, and what it keeps.
#include "kernels/layer_norm.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::layer_norm_test {
namespace {

using LayerNormTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, LayerNormTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;
constexpr LayerNormForm kForms[] = {LayerNormForm::kStandard, LayerNormForm::kUnbiasedStd};
// The awkward ones, the model's 300 columns over more than one block of rows, and rows past a tile of the column sums.
const std::vector<std::pair<int64_t, int64_t>> kShapes{{1, 1}, {3, 31}, {7, 129}, {70, 300}, {300, 5}, {0, 8}};
constexpr double kEps = 1e-3;

/// Everything from the formulas: N numbers x of a row, y = gamma (x - m) / spread + beta. The Jacobian of 1 / spread is
/// written out: d spread / d x_i = (x_i - m) / (N spread) in the standard form, (x_i - m) / ((N - 1) std) in the other.
struct Reference {
  Values y, dx, dgamma, dbeta;

  Reference(const Values& x, const Values& dy, const Values& gamma, const Values& beta, LayerNormForm form)
      : y(x.size()), dx(x.size()), dgamma(gamma.size()), dbeta(gamma.size()) {
    const size_t n = gamma.size();
    const bool standard = form == LayerNormForm::kStandard;
    for (size_t row = 0; row < x.size(); row += n) {
      double mean = 0, squares = 0, g_sum = 0, g_product = 0;
      for (size_t j = 0; j < n; ++j) mean += x[row + j] / double(n);
      for (size_t j = 0; j < n; ++j) squares += std::pow(x[row + j] - mean, 2);
      const double std_dev =
          standard ? std::sqrt(squares / double(n) + kEps) : (n > 1 ? std::sqrt(squares / double(n - 1)) : 0.0);
      const double spread = standard ? std_dev : std_dev + kEps;
      for (size_t j = 0; j < n; ++j) {
        const double d = x[row + j] - mean;
        y[row + j] = gamma[j] * d / spread + beta[j];
        dgamma[j] += dy[row + j] * d / spread;
        dbeta[j] += dy[row + j];
        g_sum += gamma[j] * dy[row + j];
        g_product += gamma[j] * dy[row + j] * d;
      }
      for (size_t i = 0; i < n; ++i) {
        const double d = x[row + i] - mean, freedom = standard ? double(n) : double(n - 1);
        const double spread_slope = std_dev > 0 && freedom > 0 ? d / (freedom * std_dev) : 0.0;
        dx[row + i] =
            (gamma[i] * dy[row + i] - g_sum / double(n)) / spread - g_product / (spread * spread) * spread_slope;
      }
    }
  }
};

/// The tensors of one call in both directions.
struct Case {
  Case(const Stream& s, int64_t rows, int64_t cols, DType t)
      : x(random(s, {rows, cols}, 1, -2, 3, t)),
        dy(random(s, {rows, cols}, 2, -1, 1, t)),
        gamma(random(s, {cols}, 3, 0.5, 2)),
        beta(random(s, {cols}, 4)),
        y(s, {rows, cols}, t),
        dx(s, {rows, cols}, t),
        stats(s, {rows, 2}),
        sums(s, {2, cols}) {}
  kernels::LayerNorm forward(LayerNormForm form) const {
    return {.x = x.cref(),
            .gamma = gamma.cref(),
            .beta = beta.cref(),
            .y = y.ref(),
            .stats = stats.ref(),
            .eps = float(kEps),
            .form = form};
  }
  kernels::LayerNormGrad backward(LayerNormForm form) const {
    return {.x = x.cref(),
            .dy = dy.cref(),
            .gamma = gamma.cref(),
            .stats = stats.ref(),
            .dx = dx.ref(),
            .sums = sums.ref(),
            .eps = float(kEps),
            .form = form};
  }
  Tensor x, dy, gamma, beta;
  Guarded y, dx, stats, sums;
};

Values joined(Values a, const Values& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_P(LayerNormTest, BothFormsMatchTheirFormulasInBothDirections) {
  const Stream s(device());
  for (const auto& [rows, cols] : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const LayerNormForm form : kForms) {
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " form " << int(form));
        const Case run(s, rows, cols, t);
        launch(run.forward(form), s);
        launch(run.backward(form), s);
        const Reference r(to_double(s, run.x), to_double(s, run.dy), to_double(s, run.gamma), to_double(s, run.beta),
                          form);
        expect_close(to_double(s, run.y.tensor()), r.y, bound(t));
        expect_close(to_double(s, run.dx.tensor()), r.dx, bound(t));
        expect_close(to_double(s, run.sums.tensor()), joined(r.dgamma, r.dbeta), bound(DType::kF32));
        for (const Guarded* g : {&run.y, &run.dx, &run.stats, &run.sums}) g->check();
      }
}

TEST_P(LayerNormTest, OutputsMayTakeThePlaceOfInputs) {
  const Stream s(device());
  for (const LayerNormForm form : kForms) {
    const Case run(s, 70, 31, DType::kF32);
    launch(run.forward(form), s);
    launch(run.backward(form), s);
    kernels::LayerNormGrad grad = run.backward(form);
    grad.dx = run.dy.ref();
    launch(grad, s);
    EXPECT_EQ(to_double(s, run.dy), to_double(s, run.dx.tensor()));
    kernels::LayerNorm norm = run.forward(form);
    norm.y = run.x.ref();
    norm.stats = {};
    launch(norm, s);
    EXPECT_EQ(to_double(s, run.x), to_double(s, run.y.tensor()));
  }
}

TEST_P(LayerNormTest, ALargeMeanCostsNoAccuracyAndAConstantRowIsBeta) {
  const Stream s(device());
  for (const LayerNormForm form : kForms) {
    const Case run(s, 5, 64, DType::kF32);
    Tensor x = run.x;
    x.assign<float>(s, random_values(5 * 64, 9, 4095, 4097));
    launch(run.forward(form), s);
    const Reference r(to_double(s, run.x), to_double(s, run.dy), to_double(s, run.gamma), to_double(s, run.beta), form);
    expect_close(to_double(s, run.y.tensor()), r.y, 2e-3);  // the mean itself is rounded to 1/4096
    x.assign<float>(s, std::vector<float>(5 * 64, 3.0f));
    launch(run.forward(form), s);
    launch(run.backward(form), s);
    const Values beta = to_double(s, run.beta), y = to_double(s, run.y.tensor());
    for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], beta[i % 64]);
    for (const double v : to_double(s, run.dx.tensor())) EXPECT_TRUE(std::isfinite(v));
  }
}

TEST_P(LayerNormTest, ResultsDoNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "teams are of CPU devices";
  std::vector<Values> seen;
  for (const int team : {1, 2}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Case run(s, 1000, 24, DType::kF32);
    launch(run.forward(LayerNormForm::kStandard), s);
    launch(run.backward(LayerNormForm::kStandard), s);
    seen.push_back(joined(to_double(s, run.dx.tensor()), to_double(s, run.sums.tensor())));
  }
  EXPECT_EQ(seen[0], seen[1]);
}

TEST_P(LayerNormTest, ParameterGradientsAccumulateWhereAsked) {
  const Stream s(device());
  const Tensor sums = random(s, {2, 5}, 1);
  const Values sum = to_double(s, sums);
  for (const auto& [add_gamma, add_beta] : {std::pair{true, false}, {false, true}}) {
    const Tensor dgamma = random(s, {5}, 3), dbeta = random(s, {5}, 4);
    Values gamma = to_double(s, dgamma), beta = to_double(s, dbeta);
    for (size_t j = 0; j < 5; ++j) {
      gamma[j] = (add_gamma ? gamma[j] : 0) + sum[j];
      beta[j] = (add_beta ? beta[j] : 0) + sum[5 + j];
    }
    launch(kernels::LayerNormGradParams{.sums = sums.cref(),
                                        .dgamma = dgamma.ref(),
                                        .dbeta = dbeta.ref(),
                                        .accumulate_gamma = add_gamma,
                                        .accumulate_beta = add_beta},
           s);
    expect_close(to_double(s, dgamma), gamma, bound(DType::kF32));
    expect_close(to_double(s, dbeta), beta, bound(DType::kF32));
  }
}

TEST_P(LayerNormTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Case run(s, 6, 4, DType::kF32);
  const Tensor three = random(s, {3}, 1), half = random(s, {6, 4}, 1, -1, 1, DType::kBF16), flat = random(s, {4}, 1);
  const auto with = [](auto call, auto change) {
    change(call);
    return call;
  };
  const auto norm = run.forward(LayerNormForm::kStandard);
  const auto grad = run.backward(LayerNormForm::kStandard);
  EXPECT_THROW(launch(with(norm, [&](auto& c) { c.gamma = three.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(norm, [&](auto& c) { c.beta = half.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(norm, [&](auto& c) { c.y = half.ref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(norm, [&](auto& c) { c.x = c.gamma; }), s), ShapeError);
  EXPECT_THROW(launch(with(norm, [&](auto& c) { c.stats = run.sums.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(grad, [&](auto& c) { c.dy = half.cref(); }), s), DTypeError);
  EXPECT_THROW(launch(with(grad, [&](auto& c) { c.stats = flat.cref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(grad, [&](auto& c) { c.dx = flat.ref(); }), s), ShapeError);
  EXPECT_THROW(launch(with(grad, [&](auto& c) { c.sums = flat.ref(); }), s), ShapeError);
  const kernels::LayerNormGradParams params{.sums = flat.cref(), .dgamma = flat.ref(), .dbeta = flat.ref()};
  EXPECT_THROW(launch(params, s), ShapeError);
}

// ---- the op ----

struct Declared {
  Init init;
  LayerNormParams params;
  Declared(int64_t cols, LayerNormForm form)
      : params{init.param("gamma", {cols}, {0.5f, 1.5f}), init.param("beta", {cols}, {-0.5f, 0.5f}), float(kEps),
               form} {}
};

TEST_P(LayerNormTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  for (const LayerNormForm form : kForms) {
    const Declared d(7, form);
    const auto f = [&](Ctx& c, const std::vector<Var>& in) { return layer_norm(c, in[0], d.params); };
    check_gradients(s, d.init, {random(s, {2, 3, 7}, 1)}, f);
    check_gradients(s, d.init, {random(s, {2, 3, 7}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return add(c, in[0], f(c, in)); });
    const Tensor constant = random(s, {2, 3, 7}, 1);
    check_gradients(s, d.init, {}, [&](Ctx& c, const std::vector<Var>&) { return f(c, {{constant}}); });
  }
}

TEST_P(LayerNormTest, TheInputAndTwoNumbersARowAreKept) {
  const Stream s(device());
  const Declared d(8, LayerNormForm::kStandard);
  Recorded pass(s, d.init);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {2, 9, 8}, 1)), y = layer_norm(c, x, d.params);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kActivation), x.value.bytes());
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kStats), 18 * 2 * 4);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward_input({{y, random(s, y.shape(), 3)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), pass.ledger.bytes(SaveKind::kDeferred));
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), 2 * 8 * 4);
  pass.tape.backward_weight(b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

}  // namespace
}  // namespace sluice::test::layer_norm_test
