// Transposition of each sample's tokens, with and without a residual, and its gradients.
#include "kernels/transpose_tokens.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::transpose_tokens_test {
namespace {

using TransposeTokensTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TransposeTokensTest, testing::ValuesIn(test_devices()), device_label);

// 1, primes, whole squares of 8 and of 32, one past them, nothing.
const std::vector<Shape> kShapes{{1, 1, 1},   {3, 5, 7},   {2, 8, 16}, {2, 9, 17}, {1, 31, 33},
                                 {2, 64, 32}, {1, 65, 40}, {0, 4, 3},  {2, 0, 3},  {2, 3, 0}};

TEST_P(TransposeTokensTest, TurnsEachSampleAndAddsTheResidual) {
  const Stream s(device());
  for (const Shape& z : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const bool residual : {false, true}) {
        SCOPED_TRACE(testing::Message() << z.text() << " " << name(t) << " " << residual);
        const Shape turned{z[0], z[2], z[1]};
        const Tensor x = random(s, z, 1, -1, 1, t), add = random(s, turned, 2, -1, 1, t);
        const Guarded y(s, turned, t);
        launch(kernels::TransposeTokens{.x = x.cref(), .residual = residual ? add.cref() : ConstRef{}, .y = y.ref()},
               s);
        const std::vector<double> in = to_double(s, x), more = to_double(s, add), got = to_double(s, y.tensor());
        std::vector<double> expected(in.size());
        for (int64_t b = 0; b < z[0]; ++b)
          for (int64_t r = 0; r < z[1]; ++r)
            for (int64_t c = 0; c < z[2]; ++c) {
              const auto at = size_t((b * z[2] + c) * z[1] + r);
              expected[at] = in[size_t((b * z[1] + r) * z[2] + c)] + (residual ? more[at] : 0.0);
            }
        if (residual)
          expect_close(got, expected, bound(t));
        else
          EXPECT_EQ(got, expected);
        y.check();
      }
}

TEST_P(TransposeTokensTest, TheSumMayReplaceItsResidual) {
  const Stream s(device());
  const Tensor x = random(s, {2, 9, 19}, 1), y = random(s, {2, 19, 9}, 2), expected = Tensor::empty(s, {2, 19, 9});
  launch(kernels::TransposeTokens{.x = x.cref(), .residual = y.cref(), .y = expected.ref()}, s);
  launch(kernels::TransposeTokens{.x = x.cref(), .residual = y.cref(), .y = y.ref()}, s);
  EXPECT_EQ(to_double(s, y), to_double(s, expected));
}

TEST_P(TransposeTokensTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 5, 3}, 1)},
                  [](Ctx& c, const std::vector<Var>& in) { return transpose_tokens(c, in[0]); });
  check_gradients(s, Init(), {random(s, {2, 5, 3}, 1), random(s, {2, 3, 5}, 2)},
                  [](Ctx& c, const std::vector<Var>& in) { return transpose_tokens(c, in[0], in[1]); });
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {2, 5, 3}, 1));
  transpose_tokens(c, transpose_tokens(c, x), x);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(TransposeTokensTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3, 4}, 1), y = random(s, {2, 4, 3}, 1),
               half = random(s, {2, 4, 3}, 1, 0, 1, DType::kBF16);
  const Tensor ids = random_ints(s, {2, 4, 3}, 1, 0, 9);
  EXPECT_NO_THROW(launch(kernels::TransposeTokens{.x = x.cref(), .y = y.ref()}, s));
  EXPECT_THROW(launch(kernels::TransposeTokens{.x = x.cref(), .y = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::TransposeTokens{.x = x.cref(), .y = half.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::TransposeTokens{.x = ids.cref(), .y = ids.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::TransposeTokens{.x = x.cref(), .residual = half.cref(), .y = y.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::TransposeTokens{.x = x.cref(), .residual = x.cref(), .y = y.ref()}, s), ShapeError);
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_THROW(transpose_tokens(c, {random(s, {3, 4}, 1)}), ShapeError);
}

}  // namespace
}  // namespace sluice::test::transpose_tokens_test
