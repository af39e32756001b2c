// Dropout: which elements fall is checked draw by draw, and does not depend on the batch; a residual passes untouched.
#include "kernels/dropout.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::dropout_test {
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

/// Element e of step t of a sample draws as element e of a batch-major row does, from counters t 2^40 further on.
TEST_P(DropoutTest, TimeMajorSequencesDrawByStepAndSample) {
  const Stream s(device());
  const Tensor x = random(s, {5, 6, 77}, 1, 1, 2);
  const Guarded whole(s, {5, 6, 77});
  const kernels::Dropout call{.x = x.cref(), .y = whole.ref(), .p = 0.5f, .key = kKey, .sample_base = 10, .axis = 1};
  launch(call, s);
  whole.check();
  const std::vector<double> in = to_double(s, x), all = to_double(s, whole.tensor());
  for (int64_t i = 0; i < int64_t(all.size()); ++i) {
    const int64_t t = i / (6 * 77), sample = i / 77 % 6, e = i % 77;
    const uint64_t counter = uint64_t(t) * 1099511627776u + uint64_t((e / 64) * 16 + e % 16);
    const bool stays = double(philox(kKey, counter, uint64_t(10 + sample)).v[(e % 64) / 16] >> 8) / 16777216.0 >= 0.5;
    ASSERT_EQ(all[size_t(i)], stays ? 2 * in[size_t(i)] : 0.0) << i;
  }
  kernels::Dropout part = call;  // fewer steps of the last four samples, as a micro-batch of its own
  std::vector<double> expected, some;
  for (int64_t t = 0; t < 3; ++t)
    for (int64_t e = 2 * 77; e < 6 * 77; ++e) {
      expected.push_back(all[size_t(t * 6 * 77 + e)]);
      some.push_back(in[size_t(t * 6 * 77 + e)]);
    }
  Tensor micro = Tensor::empty(s, {3, 4, 77});
  micro.assign<float>(s, std::vector<float>(some.begin(), some.end()));
  part.x = part.y = micro.ref();
  part.sample_base = 12;
  launch(part, s);
  EXPECT_EQ(to_double(s, micro), expected);
  check_gradients(s, Init(), {random(s, {5, 3, 7}, 1)},
                  [](Ctx& c, const std::vector<Var>& v) { return dropout(c, v[0], 0.4f, path_hash("drop"), 1); });
  part.axis = 2;
  EXPECT_THROW(launch(part, s), ShapeError);
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

TEST_P(DropoutTest, AResidualIsAddedToWhatIsKept) {
  const Stream s(device());
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {7, 129}, {2, 5000}, {0, 8}})
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float p : {0.0f, 0.3f, 0.95f}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " " << p);
        const Tensor x = random(s, {rows, cols}, 1, 1, 2, t), r = random(s, {rows, cols}, 2, -3, 3, t);
        const Guarded y(s, {rows, cols}, t);
        const kernels::Dropout call{
            .x = x.cref(), .residual = r.cref(), .y = y.ref(), .p = p, .key = kKey, .sample_base = 40};
        launch(call, s);
        const std::vector<double> in = to_double(s, x);
        std::vector<double> expected = to_double(s, r);
        for (size_t i = 0; i < expected.size(); ++i) {
          const int64_t at = int64_t(i);
          if (kept(40 + at / cols, at % cols, double(p))) expected[i] += in[i] / (1 - double(p));
        }
        expect_close(to_double(s, y.tensor()), expected, bound(t));
        y.check();
        for (const Tensor& place : {x, r}) {  // the output may take the place of either input
          const Tensor was = random(s, {rows, cols}, 1, 1, 2, t), add = random(s, {rows, cols}, 2, -3, 3, t);
          kernels::Dropout in_place = call;
          in_place.x = place.storage() == x.storage() ? x.cref() : was.cref();
          in_place.residual = place.storage() == x.storage() ? add.cref() : r.cref();
          in_place.y = place.ref();
          launch(in_place, s);
          EXPECT_EQ(to_double(s, place), to_double(s, y.tensor()));
        }
      }
}

TEST_P(DropoutTest, WithAResidualMicroBatchesDrawWhatTheWholeBatchDraws) {
  const Stream s(device());
  const Tensor x = random(s, {6, 77}, 1, 1, 2), r = random(s, {6, 77}, 2), whole = Tensor::empty(s, {6, 77}),
               parts = Tensor::empty(s, {6, 77});
  const auto run = [&](const Tensor& in, const Tensor& add, const Tensor& out, int64_t base) {
    launch(
        kernels::Dropout{
            .x = in.cref(), .residual = add.cref(), .y = out.ref(), .p = 0.5f, .key = kKey, .sample_base = base},
        s);
  };
  run(x, r, whole, 10);
  for (int64_t first = 0; first < 6; first += 2)
    run(x.rows(first, 2), r.rows(first, 2), parts.rows(first, 2), 10 + first);
  EXPECT_EQ(to_double(s, parts), to_double(s, whole));
}

TEST_P(DropoutTest, WrongResidualsAndProbabilitiesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3}, 1), y = random(s, {3, 2}, 1), half = random(s, {2, 3}, 1, -1, 1, DType::kBF16);
  const auto run = [&](const Tensor& in, const Tensor& add, const Tensor& out, float p) {
    launch(kernels::Dropout{.x = in.cref(), .residual = add.cref(), .y = out.ref(), .p = p, .key = {}}, s);
  };
  EXPECT_THROW(run(x, y, x, 0.1f), ShapeError);
  EXPECT_THROW(run(x, x, y, 0.1f), ShapeError);
  EXPECT_THROW(run(x, half, x, 0.1f), DTypeError);
  EXPECT_THROW(run(x, x, half, 0.1f), DTypeError);
  for (const float p : {1.0f, -0.1f, NAN}) EXPECT_THROW(run(x, x, x, p), ConfigError);
}

TEST_P(DropoutTest, WithAResidualGradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  const auto f = [](Ctx& c, const std::vector<Var>& in) { return dropout(c, in[0], in[1], 0.4f, path_hash("drop")); };
  for (const bool training : {true, false})
    check_gradients(s, Init(), {random(s, {5, 77}, 1), random(s, {5, 77}, 2)}, f, {.probes = 40, .training = training});
  const Tensor constant = random(s, {5, 77}, 3);
  check_gradients(s, Init(), {random(s, {5, 77}, 1)}, [&](Ctx& c, const std::vector<Var>& in) {
    return f(c, {in[0], {constant}});
  });
  check_gradients(s, Init(), {random(s, {5, 77}, 1)}, [&](Ctx& c, const std::vector<Var>& in) {
    return f(c, {{constant}, in[0]});
  });
  Recorded pass(s);
  Ctx c = pass.ctx(), evaluation = pass.ctx(false);
  const Var x = pass.tape.leaf(random(s, {5, 77}, 1)), r = pass.tape.leaf(random(s, {5, 77}, 2));
  const Var y = f(c, {x, r});
  EXPECT_EQ(pass.ledger.bytes(), 0);
  EXPECT_NE(to_double(s, y.value), to_double(s, add(evaluation, r, x).value));
  EXPECT_EQ(to_double(s, f(evaluation, {x, r}).value), to_double(s, add(evaluation, r, x).value));
  const Var dropped = dropout(c, x, 0.4f, path_hash("drop"));  // the draws are dropout's
  EXPECT_EQ(to_double(s, y.value), to_double(s, add(c, r, dropped).value));
}

}  // namespace
}  // namespace sluice::test::dropout_test
