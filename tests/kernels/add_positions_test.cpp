// Positions and the class token in double, their gradients, and what the op keeps.
#include "kernels/add_positions.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::add_positions_test {
namespace {

using AddPositionsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AddPositionsTest, testing::ValuesIn(test_devices()), device_label);

using Values = std::vector<double>;
// Samples, tokens of x, columns: 1, primes, whole packs and strips, more samples than a block of sums, nothing.
const std::vector<Shape> kShapes{{1, 1, 1}, {3, 5, 7}, {2, 64, 48}, {300, 2, 12}, {7, 16, 129}, {0, 4, 8}, {2, 0, 3}};

TEST_P(AddPositionsTest, MatchesTheFormulaInBothDirections) {
  const Stream s(device());
  for (const Shape& z : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const int64_t extra : {0, 1})
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(testing::Message() << z.text() << " " << name(t) << " " << extra << accumulate);
          const int64_t cols = z[2], length = z[1] + extra;
          const Tensor x = random(s, z, 1, -1, 1, t), positions = random(s, {length, cols}, 2);
          const Tensor token = random(s, {cols}, 3), dy = random(s, {z[0], length, cols}, 4, -1, 1, t);
          const Guarded y(s, dy.shape(), t), dpositions(s, positions.shape()), dtoken(s, {cols});
          const std::vector<float> before = random_values(length * cols, 5);
          Tensor filled = dpositions.tensor(), filled_token = dtoken.tensor();
          filled.assign<float>(s, before);
          filled_token.assign<float>(s, std::vector<float>(size_t(cols), 2.0f));
          launch(kernels::AddPositions{.x = x.cref(),
                                       .token = extra == 1 ? token.cref() : ConstRef{},
                                       .positions = positions.cref(),
                                       .y = y.ref()},
                 s);
          launch(kernels::AddPositionsGrad{.dy = dy.cref(),
                                           .dpositions = dpositions.ref(),
                                           .dtoken = extra == 1 ? dtoken.ref() : Ref{},
                                           .accumulate_positions = accumulate,
                                           .accumulate_token = accumulate},
                 s);
          const Values in = to_double(s, x), at = to_double(s, positions), first = to_double(s, token);
          const Values gradient = to_double(s, dy);
          Values expected(gradient.size()), sums(before.begin(), before.end()), token_sums(size_t(cols), 2.0);
          if (!accumulate) std::fill(sums.begin(), sums.end(), 0.0);
          if (!accumulate && extra == 1) std::fill(token_sums.begin(), token_sums.end(), 0.0);
          for (int64_t b = 0; b < z[0]; ++b)
            for (int64_t p = 0; p < length; ++p)
              for (int64_t j = 0; j < cols; ++j) {
                const auto out = size_t((b * length + p) * cols + j);
                const double v = p < extra ? first[size_t(j)] : in[size_t((b * z[1] + p - extra) * cols + j)];
                expected[out] = v + at[size_t(p * cols + j)];
                sums[size_t(p * cols + j)] += gradient[out];
                if (p < extra) token_sums[size_t(j)] += gradient[out];
              }
          expect_close(to_double(s, y.tensor()), expected, bound(t));
          expect_close(to_double(s, dpositions.tensor()), sums, bound(DType::kF32));
          expect_close(to_double(s, dtoken.tensor()), token_sums, bound(DType::kF32));
          for (const Guarded* g : {&y, &dpositions, &dtoken}) g->check();
        }
}

/// A table of positions for five tokens, with or without a sixth before them.
PositionParams table(Init& init, bool token) {
  PositionParams p{.positions = init.param("positions", {token ? 6 : 5, 3}, InitialValue::normal(0, 1))};
  if (token) p.token = init.param("token", {3}, InitialValue::normal(0, 1));
  return p;
}

TEST_P(AddPositionsTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  for (const bool token : {false, true}) {
    Init init;
    const PositionParams p = table(init, token);
    check_gradients(s, init, {random(s, {2, 5, 3}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return add_positions(c, in[0], p); });
  }
}

TEST_P(AddPositionsTest, KeepsNothingInForward) {
  const Stream s(device());
  for (const bool token : {false, true}) {
    Init init;
    const PositionParams p = table(init, token);
    Recorded pass(s, init);
    Ctx c = pass.ctx();
    const Var y = add_positions(c, pass.tape.leaf(random(s, {2, 5, 3}, 1)), p);
    EXPECT_EQ(y.shape(), (Shape{2, token ? 6 : 5, 3}));
    EXPECT_EQ(pass.ledger.bytes(), 0);
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward_input({{y, random(s, y.shape(), 2)}}, b);
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kDeferred), y.value.bytes());
    pass.tape.backward_weight(b);
    EXPECT_EQ(pass.ledger.bytes(), 0);
  }
}

TEST_P(AddPositionsTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 5, 3}, 1), p = random(s, {6, 3}, 2), token = random(s, {3}, 3);
  const Tensor half = random(s, {2, 6, 3}, 1, 0, 1, DType::kBF16), wide = random(s, {4}, 3);
  const Guarded y(s, {2, 6, 3});
  const kernels::AddPositions good{.x = x.cref(), .token = token.cref(), .positions = p.cref(), .y = y.ref()};
  const auto with = [&](auto change) {
    kernels::AddPositions call = good;
    change(call);
    launch(call, s);
  };
  EXPECT_NO_THROW(with([](auto&) {}));
  EXPECT_THROW(with([](auto& c) { c.token = {}; }), ShapeError);
  EXPECT_THROW(with([&](auto& c) { c.token = wide.cref(); }), ShapeError);
  EXPECT_THROW(with([&](auto& c) { c.positions = token.cref(); }), ShapeError);
  EXPECT_THROW(with([&](auto& c) { c.y = half.ref(); }), DTypeError);
  EXPECT_THROW(with([&](auto& c) { c.positions = half.cref(); }), DTypeError);
  Init init;
  const PositionParams params = table(init, true);
  Recorded pass(s, init);
  Ctx c = pass.ctx();
  EXPECT_THROW(add_positions(c, {random(s, {2, 4, 3}, 1)}, params), ShapeError);
  EXPECT_THROW(add_positions(c, {random(s, {5, 3}, 1)}, params), ShapeError);
}

}  // namespace
}  // namespace sluice::test::add_positions_test
