// Dropout: which elements fall is checked draw by draw, and does not depend on the batch.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test {
namespace {

using DropoutTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, DropoutTest, testing::ValuesIn(test_devices()), device_label);

constexpr PhiloxKey kKey{123, 456};

/// Element e of a sample: 64 neighbours use 16 counters; each run of 16 takes one word of all of them.
bool kept(int64_t sample, int64_t e, double p) {
  const Philox4 words = philox(kKey, uint64_t((e / 64) * 16 + e % 16), uint64_t(sample));
  return double(words.v[(e % 64) / 16] >> 8) / 16777216.0 >= p;
}

TEST_P(DropoutTest, EveryElementFollowsItsOwnDraw) {
  const Stream s(device());
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {7, 129}, {5, 5000}, {0, 8}})
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float p : {0.0f, 0.1f, 0.5f, 0.95f}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " " << p);
        const Tensor x = random(s, {rows, cols}, 1, 1, 2, t);
        const Guarded y(s, {rows, cols}, t);
        launch(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = p, .key = kKey, .sample_base = 40}, s);
        std::vector<double> expected = to_double(s, x);
        for (size_t i = 0; i < expected.size(); ++i) {
          const int64_t at = int64_t(i);
          expected[i] = kept(40 + at / cols, at % cols, double(p)) ? expected[i] / (1 - double(p)) : 0.0;
        }
        const std::vector<double> got = to_double(s, y.tensor());
        expect_close(got, expected, bound(t));
        for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i] == 0, expected[i] == 0) << "element " << i;
        y.check();
      }
}

TEST_P(DropoutTest, TheShareThatFallsIsP) {
  const Stream s(device());
  const Tensor x = random(s, {64, 1000}, 1, 1, 1);
  const Guarded y(s, {64, 1000});
  launch(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = 0.3f, .key = kKey}, s);
  const std::vector<double> got = to_double(s, y.tensor());
  const double share = double(std::count(got.begin(), got.end(), 0.0)) / double(got.size());
  EXPECT_NEAR(share, 0.3, 5 * std::sqrt(0.3 * 0.7 / 64000));  // five standard deviations
}

TEST_P(DropoutTest, MicroBatchesDrawWhatTheWholeBatchDraws) {
  const Stream s(device());
  const Tensor x = random(s, {6, 77}, 1, 1, 2), whole = Tensor::empty(s, {6, 77}), parts = Tensor::empty(s, {6, 77});
  launch(kernels::Dropout{.x = x.cref(), .y = whole.ref(), .p = 0.5f, .key = kKey, .sample_base = 10}, s);
  for (int64_t first = 0; first < 6; first += 2)
    launch(kernels::Dropout{.x = x.rows(first, 2).cref(),
                            .y = parts.rows(first, 2).ref(),
                            .p = 0.5f,
                            .key = kKey,
                            .sample_base = 10 + first},
           s);
  EXPECT_EQ(to_double(s, parts), to_double(s, whole));
  launch(kernels::Dropout{.x = x.cref(), .y = x.ref(), .p = 0.5f, .key = kKey, .sample_base = 10}, s);  // in place
  EXPECT_EQ(to_double(s, x), to_double(s, whole));
}

TEST_P(DropoutTest, WrongShapesAndProbabilitiesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3}, 1), y = random(s, {3, 2}, 1), half = random(s, {2, 3}, 1, -1, 1, DType::kBF16);
  EXPECT_THROW(launch(kernels::Dropout{.x = x.cref(), .y = y.ref(), .key = {}}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Dropout{.x = x.cref(), .y = half.ref(), .key = {}}, s), DTypeError);
  for (const float p : {1.0f, -0.1f, NAN})
    EXPECT_THROW(launch(kernels::Dropout{.x = x.cref(), .y = x.ref(), .p = p, .key = {}}, s), ConfigError);
}

TEST_P(DropoutTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  const auto f = [](Ctx& c, const std::vector<Var>& in) { return dropout(c, in[0], 0.4f, path_hash("drop")); };
  check_gradients(s, Init(), {random(s, {5, 77}, 1)}, f, {.probes = 40});
  check_gradients(s, Init(), {random(s, {5, 77}, 1)}, f, {.training = false});
  Recorded pass(s);
  Ctx c = pass.ctx(), evaluation = pass.ctx(false);
  const Var x = pass.tape.leaf(random(s, {5, 77}, 1));
  const Var y = f(c, {x});
  EXPECT_EQ(pass.ledger.bytes(), 0);
  EXPECT_NE(to_double(s, y.value), to_double(s, x.value));
  EXPECT_EQ(to_double(s, f(evaluation, {x}).value), to_double(s, x.value));
}

}  // namespace
}  // namespace sluice::test
