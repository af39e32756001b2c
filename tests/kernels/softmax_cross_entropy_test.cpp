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
  // A sum of losses is a root too: it hands the losses a gradient of their own.
  check_gradients(s, Init(), {random(s, {6, 5}, 1)}, [&](Ctx& c, const std::vector<Var>& in) {
    const Var a = softmax_cross_entropy(c, in[0], labels), b = softmax_cross_entropy(c, in[0], more, 3.0f);
    return add(c, a, add(c, a, b));
  });
}

}  // namespace
}  // namespace sluice::test::softmax_cross_entropy_test
