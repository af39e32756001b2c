// Softmax cross-entropy against the formula in double, with logits far from zero and labels out of range.
#include "kernels/softmax_cross_entropy.h"

#include <cmath>
#include <limits>

#include "tests/kernels/recorded.h"

namespace sluice::test::softmax_cross_entropy_test {
namespace {

using SoftmaxCrossEntropyTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SoftmaxCrossEntropyTest, testing::ValuesIn(test_devices()), device_label);

struct Reference {
  double loss = 0;
  std::vector<double> gradient;
};

Reference reference(const std::vector<double>& x, const std::vector<double>& labels, int64_t classes, double weight) {
  Reference r;
  const double rows = double(labels.size());
  for (size_t b = 0; b < labels.size(); ++b) {
    const double* row = x.data() + int64_t(b) * classes;
    double top = row[0], sum = 0;
    for (int64_t k = 0; k < classes; ++k) top = std::max(top, row[k]);
    for (int64_t k = 0; k < classes; ++k) sum += std::exp(row[k] - top);
    r.loss += weight / rows * (std::log(sum) + top - row[int64_t(labels[b])]);
    for (int64_t k = 0; k < classes; ++k)
      r.gradient.push_back(weight / rows * (std::exp(row[k] - top) / sum - (k == int64_t(labels[b]) ? 1 : 0)));
  }
  return r;
}

TEST_P(SoftmaxCrossEntropyTest, MatchesTheFormulaNearAndFarFromZero) {
  const Stream s(device());
  for (const auto& [rows, classes] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float shift : {0.0f, 1e4f, -1e4f}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << classes << " " << name(t) << " " << shift);
        const Tensor x = random(s, {rows, classes}, 1, shift - 20, shift + 20, t);
        const Tensor labels = random_ints(s, {rows}, 2, 0, int32_t(classes));
        const Guarded loss(s, {1}), alone(s, {1}), dx(s, {rows, classes}, t);
        launch(
            kernels::SoftmaxCrossEntropy{
                .logits = x.cref(), .labels = labels.cref(), .loss = loss.ref(), .dlogits = dx.ref(), .weight = 0.25f},
            s);
        launch(
            kernels::SoftmaxCrossEntropy{
                .logits = x.cref(), .labels = labels.cref(), .loss = alone.ref(), .weight = 0.25f},
            s);
        const Reference r = reference(to_double(s, x), to_double(s, labels), classes, 0.25);
        expect_close(to_double(s, loss.tensor()), {r.loss}, bound(DType::kF32));
        EXPECT_EQ(to_double(s, loss.tensor()), to_double(s, alone.tensor()));
        expect_close(to_double(s, dx.tensor()), r.gradient, bound(t));
        loss.check();
        dx.check();
      }
}

TEST_P(SoftmaxCrossEntropyTest, RowsMayHaveWeights) {
  const Stream s(device());
  for (const auto& [rows, classes] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << rows << "x" << classes << " " << name(t));
      const Tensor x = random(s, {rows, classes}, 1, -5, 5, t), weights = random(s, {rows}, 3, 0, 2);
      const Tensor labels = random_ints(s, {rows}, 2, 0, int32_t(classes));
      const Guarded loss(s, {1}), dx(s, {rows, classes}, t);
      launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                          .labels = labels.cref(),
                                          .loss = loss.ref(),
                                          .dlogits = dx.ref(),
                                          .row_weights = weights.cref(),
                                          .weight = 0.25f},
             s);
      const std::vector<double> in = to_double(s, x), at = to_double(s, labels), w = to_double(s, weights);
      Reference all;
      for (size_t r = 0; r < at.size(); ++r) {
        const auto row = in.begin() + int64_t(r) * classes;
        const Reference one = reference({row, row + classes}, {at[r]}, classes, 0.25 * w[r]);
        all.loss += one.loss;
        all.gradient.insert(all.gradient.end(), one.gradient.begin(), one.gradient.end());
      }
      expect_close(to_double(s, loss.tensor()), {all.loss}, bound(DType::kF32));
      expect_close(to_double(s, dx.tensor()), all.gradient, bound(t));
      loss.check();
      dx.check();
    }
}

/// q of the definition, then the sum of -q log p over all classes.
Reference soft_reference(const std::vector<double>& x, const std::vector<std::vector<double>>& q, double weight) {
  Reference r;
  const size_t classes = q.empty() ? 0 : q[0].size();
  for (size_t b = 0; b < q.size(); ++b) {
    const double* row = x.data() + b * classes;
    double top = row[0], sum = 0;
    for (size_t k = 0; k < classes; ++k) top = std::max(top, row[k]);
    for (size_t k = 0; k < classes; ++k) sum += std::exp(row[k] - top);
    for (size_t k = 0; k < classes; ++k) {
      const double p = std::exp(row[k] - top) / sum;
      r.loss -= weight / double(q.size()) * q[b][k] * (row[k] - top - std::log(sum));
      r.gradient.push_back(weight / double(q.size()) * (p - q[b][k]));
    }
  }
  return r;
}

std::vector<std::vector<double>> soft_targets(const std::vector<double>& labels, const std::vector<double>& labels2,
                                              const std::vector<double>& share, int64_t classes, double smoothing) {
  std::vector<std::vector<double>> q;
  for (size_t b = 0; b < labels.size(); ++b) {
    q.emplace_back();
    for (int64_t k = 0; k < classes; ++k) {
      const auto one = [&](double label) {
        return double(k) == label ? 1 - smoothing : smoothing == 0 ? 0 : smoothing / double(classes - 1);
      };
      q.back().push_back(share[b] * one(labels[b]) + (1 - share[b]) * one(labels2[b]));
    }
  }
  return q;
}

TEST_P(SoftmaxCrossEntropyTest, AClassMayGetNothingOfTheSmoothing) {
  const Stream s(device());
  const int64_t rows = 5, classes = 37, padding = 4;
  const Tensor x = random(s, {rows, classes}, 1, -5, 5);
  const std::vector<int32_t> labels{0, 36, 4, 7, 3};  // of padding one row, which counts nothing
  const std::vector<float> weights{0.3f, 0.1f, 0.0f, 0.2f, 0.4f};
  const Guarded loss(s, {1}), dx(s, {rows, classes});
  launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                      .labels = Tensor::from<int32_t>(s, labels, {rows}).cref(),
                                      .loss = loss.ref(),
                                      .dlogits = dx.ref(),
                                      .row_weights = Tensor::from<float>(s, weights, {rows}).cref(),
                                      .smoothing = 0.1f,
                                      .unsmoothed = int(padding)},
         s);
  s.sync();
  std::vector<double> in = to_double(s, x), gradient;
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> q(size_t(classes), 0.1 / double(classes - 2));
    q[size_t(padding)] = 0;
    q[size_t(labels[size_t(r)])] = 0.9;
    const Reference one =
        soft_reference({in.begin() + r * classes, in.begin() + (r + 1) * classes}, {q}, double(weights[size_t(r)]));
    sum += one.loss;
    gradient.insert(gradient.end(), one.gradient.begin(), one.gradient.end());
  }
  expect_close(to_double(s, loss.tensor()), {sum}, bound(DType::kF32));
  expect_close(to_double(s, dx.tensor()), gradient, bound(DType::kF32));
  kernels::SoftmaxCrossEntropy none{.logits = x.cref(), .labels = x.cref(), .loss = loss.ref()};
  for (const int wrong : {-2, 37}) {
    none.labels = Tensor::from<int32_t>(s, labels, {rows}).cref();
    none.unsmoothed = wrong;
    EXPECT_THROW(launch(none, s), ShapeError);
  }
}

TEST_P(SoftmaxCrossEntropyTest, RowsMayHaveTwoLabelsAndSmoothedOnes) {
  const Stream s(device());
  for (const auto& [rows, classes] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float smoothing : {0.0f, 0.1f, 1.0f})
        for (const bool two : {false, true}) {
          if (smoothing > 0 && classes < 2) continue;
          SCOPED_TRACE(testing::Message() << rows << "x" << classes << " " << name(t) << " " << smoothing << two);
          const Tensor x = random(s, {rows, classes}, 1, 990, 1010, t), share = random(s, {rows}, 4, 0, 1);
          const Tensor labels = random_ints(s, {rows}, 2, 0, int32_t(classes)),
                       labels2 = random_ints(s, {rows}, 3, 0, int32_t(classes));
          const Guarded loss(s, {1}), dx(s, {rows, classes}, t);
          launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                              .labels = labels.cref(),
                                              .loss = loss.ref(),
                                              .dlogits = dx.ref(),
                                              .labels2 = two ? labels2.cref() : ConstRef{},
                                              .share = two ? share.cref() : ConstRef{},
                                              .smoothing = smoothing,
                                              .weight = 0.5f},
                 s);
          const std::vector<double> first = to_double(s, labels);
          const auto q =
              two ? soft_targets(first, to_double(s, labels2), to_double(s, share), classes, double(smoothing))
                  : soft_targets(first, first, std::vector<double>(first.size(), 1), classes, double(smoothing));
          const Reference r = soft_reference(to_double(s, x), q, 0.5);
          expect_close(to_double(s, loss.tensor()), {r.loss}, bound(DType::kF32));
          expect_close(to_double(s, dx.tensor()), r.gradient, bound(t));
          loss.check();
          dx.check();
        }
}

TEST_P(SoftmaxCrossEntropyTest, ALogitOfMinusInfinityIsAClassThatIsNotThere) {
  const Stream s(device());
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::from<float>(s, std::vector<float>{0, -inf, 0}, {1, 3});
  const Tensor labels = Tensor::from<int32_t>(s, std::vector<int32_t>{2}, {1});
  const Guarded loss(s, {1});
  launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(), .labels = labels.cref(), .loss = loss.ref()}, s);
  EXPECT_NEAR(to_double(s, loss.tensor())[0], std::log(2.0), 1e-6);
}

TEST_P(SoftmaxCrossEntropyTest, ALabelOutOfRangeMakesTheLossAndItsRowNan) {
  const Stream s(device());
  for (const int32_t bad : {-1, 4, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    const Tensor x = random(s, {3, 4}, 1);
    const Tensor labels = Tensor::from<int32_t>(s, std::vector<int32_t>{0, bad, 3}, {3});
    const Guarded loss(s, {1}), dx(s, {3, 4});
    launch(
        kernels::SoftmaxCrossEntropy{
            .logits = x.cref(), .labels = labels.cref(), .loss = loss.ref(), .dlogits = dx.ref()},
        s);
    EXPECT_TRUE(std::isnan(to_double(s, loss.tensor())[0]));
    const std::vector<double> g = to_double(s, dx.tensor());
    for (size_t i = 0; i < g.size(); ++i) EXPECT_EQ(std::isnan(g[i]), i / 4 == 1) << i;
    // A second label out of range is no better.
    const Tensor first = random_ints(s, {3}, 1, 0, 4), share = random(s, {3}, 1, 0, 1);
    launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                        .labels = first.cref(),
                                        .loss = loss.ref(),
                                        .dlogits = dx.ref(),
                                        .labels2 = labels.cref(),
                                        .share = share.cref()},
           s);
    EXPECT_TRUE(std::isnan(to_double(s, loss.tensor())[0]));
    EXPECT_TRUE(std::isnan(to_double(s, dx.tensor())[4]));
    EXPECT_FALSE(std::isnan(to_double(s, dx.tensor())[0]));
  }
}

TEST_P(SoftmaxCrossEntropyTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3, 4}, 1), labels = random_ints(s, {3}, 1, 0, 4), four = random_ints(s, {4}, 1, 0, 4);
  const Tensor loss = random(s, {1}, 1), two = random(s, {2}, 1);
  const auto call = [&](const Tensor& l, const Tensor& out, const Tensor& dx) {
    launch(kernels::SoftmaxCrossEntropy{.logits = x.cref(), .labels = l.cref(), .loss = out.ref(), .dlogits = dx.ref()},
           s);
  };
  EXPECT_NO_THROW(call(labels, loss, x));
  EXPECT_THROW(call(four, loss, x), ShapeError);
  EXPECT_THROW(call(random(s, {3}, 1), loss, x), DTypeError);
  EXPECT_THROW(call(labels, two, x), ShapeError);
  EXPECT_THROW(call(labels, loss, random(s, {4, 3}, 1)), ShapeError);
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_THROW(softmax_cross_entropy(c, {x}, labels, 1.0f, two), ShapeError);
  EXPECT_THROW(softmax_cross_entropy(c, {x}, labels, 1.0f, labels), DTypeError);
  const auto refused = [&](const Tensor& labels2, const Tensor& share, float smoothing) {
    ClassTargets targets = labels;
    targets.labels2 = labels2;
    targets.share = share;
    targets.smoothing = smoothing;
    softmax_cross_entropy(c, {x}, targets);
  };
  const Tensor share = random(s, {3}, 1, 0, 1);
  EXPECT_NO_THROW(refused(labels, share, 0.1f));
  EXPECT_THROW(refused(labels, {}, 0), ShapeError);
  EXPECT_THROW(refused({}, share, 0), ShapeError);
  EXPECT_THROW(refused(four, share, 0), ShapeError);
  EXPECT_THROW(refused(labels, loss, 0), ShapeError);
  EXPECT_THROW(refused(share, share, 0), DTypeError);
  EXPECT_THROW(refused(labels, labels, 0), DTypeError);
  EXPECT_THROW(refused({}, {}, 1.5f), ShapeError);
  EXPECT_THROW(softmax_cross_entropy(c, {random(s, {3, 1}, 1)},
                                     [&] {
                                       ClassTargets t = labels;
                                       t.smoothing = 0.1f;
                                       return t;
                                     }()),
               ShapeError);
}

TEST_P(SoftmaxCrossEntropyTest, GradientsAgreeWithDifferencesAloneAndInsideASum) {
  const Stream s(device());
  const Tensor labels = random_ints(s, {6}, 2, 0, 5), more = random_ints(s, {6}, 3, 0, 5);
  check_gradients(s, Init(), {random(s, {6, 5}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return softmax_cross_entropy(c, in[0], labels, 0.5f); });
  const Tensor weights = random(s, {6}, 4, 0, 1);
  check_gradients(s, Init(), {random(s, {6, 5}, 1)}, [&](Ctx& c, const std::vector<Var>& in) {
    return softmax_cross_entropy(c, in[0], labels, 0.5f, weights);
  });
  ClassTargets soft = labels;
  soft.labels2 = more;
  soft.share = weights;
  soft.smoothing = 0.2f;
  check_gradients(s, Init(), {random(s, {6, 5}, 1)},
                  [&](Ctx& c, const std::vector<Var>& in) { return softmax_cross_entropy(c, in[0], soft); });
  // A sum of losses is a root too: it hands the losses a gradient of their own.
  check_gradients(s, Init(), {random(s, {6, 5}, 1)}, [&](Ctx& c, const std::vector<Var>& in) {
    const Var a = softmax_cross_entropy(c, in[0], labels), b = softmax_cross_entropy(c, in[0], more, 3.0f);
    return add(c, a, add(c, a, b));
  });
}

}  // namespace
}  // namespace sluice::test::softmax_cross_entropy_test
