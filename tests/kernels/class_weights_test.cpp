// Class weights, and what they are for: a loss over one row a class equals the loss over the batch.
#include "kernels/class_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/recorded.h"

namespace sluice::test::class_weights_test {
namespace {

using ClassWeightsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ClassWeightsTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(ClassWeightsTest, AreTheExactShares) {
  const Stream s(device());
  for (const int64_t count : {1, 3, 129, 2048})
    for (const int32_t classes : {1, 7, 200}) {
      SCOPED_TRACE(testing::Message() << count << " " << classes);
      const Tensor labels = random_ints(s, {count}, 1, 0, classes);
      const Guarded weights(s, {classes});
      launch(kernels::ClassWeights{.labels = labels.cref(), .weights = weights.ref()}, s);
      std::vector<float> counts(size_t(classes), 0.0f);
      for (const int32_t label : labels.to_vector<int32_t>(s)) counts[size_t(label)] += 1;
      for (float& n : counts) n /= float(count);
      EXPECT_EQ(weights.tensor().to_vector<float>(s), counts);
      weights.check();
    }
}

TEST_P(ClassWeightsTest, NoLabelsGiveZeroesAndAStrangeOneNan) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_THAT(to_double(s, class_weights(c, Tensor::empty(s, {0}, DType::kI32), 3)), testing::Each(0.0));
  for (const int32_t bad : {-1, 3}) {
    const Tensor labels = Tensor::from<int32_t>(s, std::vector<int32_t>{0, bad, 2}, {3});
    for (const double w : to_double(s, class_weights(c, labels, 3))) EXPECT_TRUE(std::isnan(w));
  }
}

TEST_P(ClassWeightsTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor labels = random_ints(s, {3}, 1, 0, 4), f = random(s, {4}, 1), two = random(s, {2, 2}, 1);
  EXPECT_THROW(launch(kernels::ClassWeights{.labels = f.cref(), .weights = f.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::ClassWeights{.labels = labels.cref(), .weights = two.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::ClassWeights{.labels = labels.cref(), .weights = labels.ref()}, s), DTypeError);
}

// ---- the label path: encoder and decoder of one-hot labels, over the batch or over the table of classes ----

struct LabelPath {
  LabelPath(Init init, int64_t classes, int64_t width, bool entropy) : cross_entropy(entropy) {
    encoder = {init.param("g.weight", {width, classes}, InitialValue::uniform(1)),
               init.param("g.bias", {width}, InitialValue::uniform(1)), Act::kSigmoid};
    decoder = {init.param("h.weight", {classes, width}, InitialValue::uniform(0.2f)),
               init.param("h.bias", {classes}, InitialValue::uniform(0.2f)), entropy ? Act::kNone : Act::kSigmoid};
  }
  /// rows [n, classes] one-hot, of these labels; the codes come out, too.
  Var loss(Ctx& c, const Tensor& rows, const Tensor& labels, const Tensor& row_weights, Tensor& codes) const {
    const Var code = matmul(c, {rows}, encoder), back = matmul(c, code, decoder);
    codes = code.value;
    return cross_entropy ? softmax_cross_entropy(c, back, labels, 0.5f, row_weights)
                         : mse(c, back, rows, 0.5f, row_weights);
  }
  Linear encoder, decoder;
  bool cross_entropy;
};

struct Step {
  std::vector<double> loss, gradients, codes;
};
template <class F>
Step step(const Stream& s, const Init& init, F&& forward) {
  Recorded pass(s, init);
  Ctx c = pass.ctx();
  Tensor codes;
  const Var loss = forward(c, codes);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{loss, Tensor()}}, b);
  return {to_double(s, loss.value), to_double(s, pass.arena.grads()), to_double(s, codes)};
}

TEST_P(ClassWeightsTest, ARowForEachClassTrainsTheLabelPathAsTheBatchDoes) {
  const Stream s(device());
  struct Sizes {
    int64_t rows;
    int32_t classes;
    int64_t width;
  };
  for (const Sizes& of : {Sizes{64, 4, 128}, Sizes{100, 14, 33}, Sizes{256, 4, 128}})
    for (const bool entropy : {false, true}) {
      SCOPED_TRACE(testing::Message() << of.rows << " " << of.classes << " " << entropy);
      Init init;
      const LabelPath path(init, of.classes, of.width, entropy);
      const Tensor labels = random_ints(s, {of.rows}, 1, 0, of.classes);
      std::vector<int32_t> all(size_t(of.classes), 0);
      std::iota(all.begin(), all.end(), 0);
      const Tensor each = Tensor::from<int32_t>(s, all, {of.classes});
      const Step batch = step(s, init, [&](Ctx& c, Tensor& codes) {
        return path.loss(c, one_hot(c, labels, of.classes), labels, {}, codes);
      });
      const Step table = step(s, init, [&, count = of.classes](Ctx& c, Tensor& codes) {
        const Var loss = path.loss(c, identity(c, count), each, class_weights(c, labels, count), codes);
        codes = gather_rows(c, codes, labels);
        return loss;
      });
      const double rounding =
          std::max(1e-6, double(of.rows) * 1e-8);  // the batch adds as many equal numbers one by one
      expect_close(table.loss, batch.loss, rounding);
      expect_close(table.gradients, batch.gradients, rounding);
      expect_close(table.codes, batch.codes, rounding);
    }
}

}  // namespace
}  // namespace sluice::test::class_weights_test
