// Supervised contrastive loss against its definition in double, taken from the rows themselves.
#include "kernels/supervised_contrastive.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::supervised_contrastive_test {
namespace {

using SupervisedContrastiveTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SupervisedContrastiveTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t rows, cols;
  int32_t classes;
  float temperature;
};
const std::vector<Case> kCases{{1, 3, 1, 0.1f},  {2, 5, 1, 0.5f},      {3, 31, 3, 0.1f}, {37, 16, 4, 0.1f},
                               {64, 8, 1, 1.0f}, {129, 24, 50, 0.07f}, {0, 4, 2, 0.1f}};

/// Unit rows as the op gets them.
Tensor unit_rows(const Stream& s, int64_t rows, int64_t cols, DType t = DType::kF32) {
  Recorded pass(s);
  Ctx c = pass.ctx();
  c.tape = nullptr;
  return convert(c, row_normalise(c, {random(s, {rows, cols}, 1)}), t).value;
}

struct Reference {
  double loss = 0;
  std::vector<double> dz;
};

/// The definition, row by row: logits about the row's maximum, the denominator over c != a, the sum over p != a of a's
/// label divided by the rows of that label with a among them. The gradient differentiates it by z on both sides.
Reference reference(const std::vector<double>& z, const std::vector<double>& labels, const Case& e, double weight) {
  const size_t n = labels.size(), d = size_t(e.cols);
  Reference r{0, std::vector<double>(z.size(), 0.0)};
  for (size_t a = 0; a < n; ++a) {
    std::vector<double> logit(n, 0.0);
    double top = -INFINITY, denominator = 0, same = 0, sum = 0;
    for (size_t k = 0; k < n; ++k) {
      for (size_t j = 0; j < d; ++j) logit[k] += z[a * d + j] * z[k * d + j] / double(e.temperature);
      top = std::max(top, logit[k]);
      same += labels[k] == labels[a] ? 1 : 0;
    }
    for (size_t k = 0; k < n; ++k) denominator += k == a ? 0 : std::exp(logit[k] - top);
    for (size_t k = 0; k < n; ++k)
      if (k != a && labels[k] == labels[a]) sum += logit[k] - top - std::log(denominator);
    r.loss -= weight / double(n) * sum / same;
    for (size_t k = 0; k < n; ++k) {
      if (k == a) continue;
      const double positive = labels[k] == labels[a] ? 1 : 0;
      const double g = -weight / double(n) / same * (positive - (same - 1) * std::exp(logit[k] - top) / denominator) /
                       double(e.temperature);
      for (size_t j = 0; j < d; ++j) {
        r.dz[a * d + j] += g * z[k * d + j];
        r.dz[k * d + j] += g * z[a * d + j];
      }
    }
  }
  return r;
}

TEST_P(SupervisedContrastiveTest, MatchesTheDefinition) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << e.rows << "x" << e.cols << " " << e.classes << " " << name(t));
      const Tensor labels = random_ints(s, {e.rows}, 2, -1, e.classes - 1);  // labels are names: -1 is one, too
      Recorded pass(s);
      Ctx c = pass.ctx();
      const Var z = pass.tape.leaf(unit_rows(s, e.rows, e.cols, t));
      const Reference r = reference(to_double(s, z.value), to_double(s, labels), e, 0.5);
      const Var loss = supervised_contrastive(c, z, labels, e.temperature, 0.5f);
      EXPECT_EQ(pass.ledger.bytes(), z.value.numel() * 4) << "the gradient alone is kept";
      expect_close(to_double(s, loss.value), {r.loss}, bound(DType::kF32));
      BackwardCtx b = pass.backward_ctx();
      pass.tape.backward({{loss, Tensor()}}, b);
      expect_close(to_double(s, pass.tape.take_grad(z)), r.dz, bound(t));
      c.tape = nullptr;
      EXPECT_EQ(to_double(s, supervised_contrastive(c, z, labels, e.temperature, 0.5f).value), to_double(s, loss.value))
          << "without a gradient";
    }
}

TEST_P(SupervisedContrastiveTest, TheKernelWritesASymmetricGradientAndNothingElse) {
  const Stream s(device());
  for (const int64_t n : {1, 3, 31, 257}) {
    const Tensor labels = random_ints(s, {n}, 2, 0, 3), products = random(s, {n, n}, 3);
    const Guarded loss(s, {1}), g(s, {n, n});
    launch(
        kernels::SupervisedContrastive{
            .products = products.cref(), .labels = labels.cref(), .loss = loss.ref(), .dproducts = g.ref()},
        s);
    loss.check();
    g.check();
    for (int64_t a = 0; a < n; ++a) EXPECT_EQ(to_double(s, g.tensor())[size_t(a * n + a)], 0) << a;
    launch(
        kernels::SupervisedContrastive{
            .products = products.cref(), .labels = labels.cref(), .loss = loss.ref(), .dproducts = products.ref()},
        s);
    EXPECT_EQ(to_double(s, products), to_double(s, g.tensor())) << "in place";
  }
}

TEST_P(SupervisedContrastiveTest, ALabelOfOneRowAloneContributesNothing) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Tensor labels = Tensor::from<int32_t>(s, std::vector<int32_t>{4, 9, 2}, {3});
  const Var z = pass.tape.leaf(unit_rows(s, 3, 4));
  const Var loss = supervised_contrastive(c, z, labels, 0.1f);
  EXPECT_EQ(to_double(s, loss.value), std::vector<double>{0});
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{loss, Tensor()}}, b);
  EXPECT_THAT(to_double(s, pass.tape.take_grad(z)), testing::Each(0.0));
}

TEST_P(SupervisedContrastiveTest, SmallTemperaturesStayFinite) {
  const Stream s(device());
  const Case e{40, 6, 3, 1e-3f};  // e^(-2 / temperature) is 0 in float
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Tensor labels = random_ints(s, {e.rows}, 2, 0, e.classes);
  const Var z = pass.tape.leaf(unit_rows(s, e.rows, e.cols));
  const Reference r = reference(to_double(s, z.value), to_double(s, labels), e, 1);
  const Var loss = supervised_contrastive(c, z, labels, e.temperature);
  expect_close(to_double(s, loss.value), {r.loss}, bound(DType::kF32));
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{loss, Tensor()}}, b);
  for (const double g : to_double(s, pass.tape.take_grad(z))) EXPECT_TRUE(std::isfinite(g));
}

TEST_P(SupervisedContrastiveTest, GradientsAgreeWithDifferencesThroughTheNorm) {
  const Stream s(device());
  const Tensor labels = random_ints(s, {7}, 2, 0, 3);
  check_gradients(s, Init(), {random(s, {7, 5}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) {
                    return supervised_contrastive(c, row_normalise(c, in[0]), labels, 0.5f, 2.0f);
                  },
                  {.step = 3e-3, .probes = 12});
}

TEST_P(SupervisedContrastiveTest, DoesNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "a GPU has no team";
  std::vector<std::vector<double>> seen;
  for (const int team : {1, 2, 3}) {
    const Stream s(device(), CpuShare{.team = team, .cores = {}});
    const Tensor labels = random_ints(s, {200}, 2, 0, 5), products = random(s, {200, 200}, 3), loss = random(s, {1}, 4);
    launch(
        kernels::SupervisedContrastive{
            .products = products.cref(), .labels = labels.cref(), .loss = loss.ref(), .dproducts = products.ref()},
        s);
    seen.push_back(to_double(s, products));
    seen.back().push_back(to_double(s, loss)[0]);
  }
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST_P(SupervisedContrastiveTest, WrongCallsAreRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var z{unit_rows(s, 3, 4)};
  const Tensor labels = random_ints(s, {3}, 2, 0, 2);
  EXPECT_THROW(supervised_contrastive(c, z, random_ints(s, {4}, 2, 0, 2), 0.1f), ShapeError);
  EXPECT_THROW(supervised_contrastive(c, z, random(s, {3}, 2), 0.1f), DTypeError);
  EXPECT_THROW(supervised_contrastive(c, z, labels, 0.0f), ConfigError);
  EXPECT_THROW(supervised_contrastive(c, {random(s, {3}, 2)}, labels, 0.1f), ShapeError);
  const Tensor flat = random(s, {3, 4}, 1), loss = random(s, {1}, 1);
  EXPECT_THROW(
      launch(kernels::SupervisedContrastive{.products = flat.cref(), .labels = labels.cref(), .loss = loss.ref()}, s),
      ShapeError);
}

}  // namespace
}  // namespace sluice::test::supervised_contrastive_test
