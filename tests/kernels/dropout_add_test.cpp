// Dropout with a residual: the draws are those of dropout, element by element, and the residual passes untouched.
#include "kernels/dropout_add.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test {
namespace {

using DropoutAddTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, DropoutAddTest, testing::ValuesIn(test_devices()), device_label);

constexpr PhiloxKey kKey{123, 456};

/// Element e of a sample: 64 neighbours use 16 counters; each run of 16 takes one word of all of them.
bool kept(int64_t sample, int64_t e, double p) {
  const Philox4 words = philox(kKey, uint64_t((e / 64) * 16 + e % 16), uint64_t(sample));
  return double(words.v[(e % 64) / 16] >> 8) / 16777216.0 >= p;
}

TEST_P(DropoutAddTest, TheResidualIsAddedToWhatIsKept) {
  const Stream s(device());
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {7, 129}, {2, 5000}, {0, 8}})
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const float p : {0.0f, 0.3f, 0.95f}) {
        SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t) << " " << p);
        const Tensor x = random(s, {rows, cols}, 1, 1, 2, t), r = random(s, {rows, cols}, 2, -3, 3, t);
        const Guarded y(s, {rows, cols}, t);
        const kernels::DropoutAdd call{
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
          kernels::DropoutAdd in_place = call;
          in_place.x = place.storage() == x.storage() ? x.cref() : was.cref();
          in_place.residual = place.storage() == x.storage() ? add.cref() : r.cref();
          in_place.y = place.ref();
          launch(in_place, s);
          EXPECT_EQ(to_double(s, place), to_double(s, y.tensor()));
        }
      }
}

TEST_P(DropoutAddTest, MicroBatchesDrawWhatTheWholeBatchDraws) {
  const Stream s(device());
  const Tensor x = random(s, {6, 77}, 1, 1, 2), r = random(s, {6, 77}, 2), whole = Tensor::empty(s, {6, 77}),
               parts = Tensor::empty(s, {6, 77});
  const auto run = [&](const Tensor& in, const Tensor& add, const Tensor& out, int64_t base) {
    launch(
        kernels::DropoutAdd{
            .x = in.cref(), .residual = add.cref(), .y = out.ref(), .p = 0.5f, .key = kKey, .sample_base = base},
        s);
  };
  run(x, r, whole, 10);
  for (int64_t first = 0; first < 6; first += 2)
    run(x.rows(first, 2), r.rows(first, 2), parts.rows(first, 2), 10 + first);
  EXPECT_EQ(to_double(s, parts), to_double(s, whole));
}

TEST_P(DropoutAddTest, WrongShapesAndProbabilitiesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3}, 1), y = random(s, {3, 2}, 1), half = random(s, {2, 3}, 1, -1, 1, DType::kBF16);
  const auto run = [&](const Tensor& in, const Tensor& add, const Tensor& out, float p) {
    launch(kernels::DropoutAdd{.x = in.cref(), .residual = add.cref(), .y = out.ref(), .p = p, .key = {}}, s);
  };
  EXPECT_THROW(run(x, y, x, 0.1f), ShapeError);
  EXPECT_THROW(run(x, x, y, 0.1f), ShapeError);
  EXPECT_THROW(run(x, half, x, 0.1f), DTypeError);
  EXPECT_THROW(run(x, x, half, 0.1f), DTypeError);
  for (const float p : {1.0f, -0.1f, NAN}) EXPECT_THROW(run(x, x, x, p), ConfigError);
}

TEST_P(DropoutAddTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  const auto f = [](Ctx& c, const std::vector<Var>& in) {
    return dropout_add(c, in[0], in[1], 0.4f, path_hash("drop"));
  };
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
}  // namespace sluice::test
