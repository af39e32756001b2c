// Some of each sample's tokens, and what the others' gradient is.
#include "kernels/slice_tokens.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::slice_tokens_test {
namespace {

using SliceTokensTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SliceTokensTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  Shape whole;
  int64_t first, count;
};
const std::vector<Case> kCases{{{1, 1, 1}, 0, 1},  {{3, 5, 7}, 1, 4}, {{2, 9, 8}, 0, 1}, {{2, 65, 16}, 1, 64},
                               {{2, 4, 12}, 4, 0}, {{0, 4, 3}, 1, 2}, {{2, 3, 0}, 1, 1}, {{7, 6, 31}, 2, 3}};

TEST_P(SliceTokensTest, BothDirectionsCopyWhatTheyShould) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << e.whole.text() << " " << e.first << "+" << e.count << " " << name(t));
      const Shape part{e.whole[0], e.count, e.whole[2]};
      const Tensor x = random(s, e.whole, 1, -1, 1, t), dy = random(s, part, 2, -1, 1, t);
      const Guarded y(s, part, t), dx(s, e.whole, t);
      launch(kernels::SliceTokens{.x = x.cref(), .y = y.ref(), .first = e.first}, s);
      launch(kernels::SliceTokensGrad{.dy = dy.cref(), .dx = dx.ref(), .first = e.first}, s);
      const std::vector<double> in = to_double(s, x), gradient = to_double(s, dy);
      std::vector<double> expected(gradient.size()), back(in.size(), 0.0);
      for (int64_t b = 0; b < part[0]; ++b)
        for (int64_t i = 0; i < part[1]; ++i)
          for (int64_t j = 0; j < part[2]; ++j) {
            const auto from = size_t((b * e.whole[1] + e.first + i) * part[2] + j);
            const auto to = size_t((b * part[1] + i) * part[2] + j);
            expected[to] = in[from];
            back[from] = gradient[to];
          }
      EXPECT_EQ(to_double(s, y.tensor()), expected);
      EXPECT_EQ(to_double(s, dx.tensor()), back);
      y.check();
      dx.check();
    }
}

TEST_P(SliceTokensTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 5, 3}, 1)},
                  [](Ctx& c, const std::vector<Var>& in) { return slice_tokens(c, in[0], 1, 3); });
  Recorded pass(s);
  Ctx c = pass.ctx();
  slice_tokens(c, pass.tape.leaf(random(s, {2, 5, 3}, 1)), 0, 1);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(SliceTokensTest, WhatIsNotThereIsRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x{random(s, {2, 5, 3}, 1)};
  EXPECT_NO_THROW(slice_tokens(c, x, 2, 3));
  EXPECT_THROW(slice_tokens(c, x, 3, 3), ShapeError);
  EXPECT_THROW(slice_tokens(c, x, -1, 3), ShapeError);
  EXPECT_THROW(slice_tokens(c, x, 1, -1), ShapeError);
  EXPECT_THROW(slice_tokens(c, {random(s, {5, 3}, 1)}, 0, 1), ShapeError);
  const Guarded y(s, {2, 1, 4}), half(s, {2, 1, 3}, DType::kBF16);
  EXPECT_THROW(launch(kernels::SliceTokens{.x = x.value.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::SliceTokens{.x = x.value.cref(), .y = half.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::slice_tokens_test
