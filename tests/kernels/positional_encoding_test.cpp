// Sinusoids from their formula, the scale in both directions, and that nothing is kept.
#include "kernels/positional_encoding.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::positional_encoding_test {
namespace {

using PositionalEncodingTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, PositionalEncodingTest, testing::ValuesIn(test_devices()), device_label);

const std::vector<Shape> kShapes{{1, 1, 1}, {3, 5, 7}, {2, 64, 48}, {1, 700, 2}, {0, 4, 8}, {2, 0, 3}};

TEST_P(PositionalEncodingTest, MatchesTheFormula) {
  const Stream s(device());
  for (const Shape& z : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16})
      for (const bool positions : {true, false}) {
        SCOPED_TRACE(testing::Message() << z.text() << " " << name(t) << positions);
        const Tensor x = random(s, z, 1, -1, 1, t);
        const Guarded y(s, z, t);
        launch(kernels::PositionalEncoding{.x = x.cref(), .y = y.ref(), .scale = 3.0f, .positions = positions}, s);
        std::vector<double> expected = to_double(s, x);
        for (size_t i = 0; i < expected.size(); ++i) {
          const auto j = int64_t(i) % z[2], at = int64_t(i) / z[2] % z[1];
          const double angle = double(at) / std::pow(10000.0, 2.0 * double(j / 2) / double(z[2]));
          expected[i] = 3 * expected[i] + (positions ? (j % 2 == 0 ? std::sin(angle) : std::cos(angle)) : 0.0);
        }
        expect_close(to_double(s, y.tensor()), expected, bound(t));
        y.check();
      }
}

TEST_P(PositionalEncodingTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 5, 6}, 1)},
                  [](Ctx& c, const std::vector<Var>& in) { return positional_encoding(c, in[0], 2.5f); });
  Recorded pass(s);
  Ctx c = pass.ctx();
  positional_encoding(c, pass.tape.leaf(random(s, {2, 5, 6}, 1)), 2.5f);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(PositionalEncodingTest, OtherShapesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {2, 3, 4}, 1), flat = random(s, {6, 4}, 1);
  EXPECT_THROW(launch(kernels::PositionalEncoding{.x = flat.cref(), .y = flat.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::PositionalEncoding{.x = x.cref(), .y = flat.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::positional_encoding_test
