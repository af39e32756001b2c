// Rows between batch-major and time-major.
#include "kernels/swap_axes.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::swap_axes_test {
namespace {

using SwapAxesTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SwapAxesTest, testing::ValuesIn(test_devices()), device_label);

const std::vector<Shape> kShapes{{1, 1, 1}, {3, 5, 7}, {7, 2, 129}, {65, 3, 8}, {0, 4, 3}, {4, 0, 3}, {2, 3, 0}};

TEST_P(SwapAxesTest, EveryRowMovesToItsPlace) {
  const Stream s(device());
  for (const Shape& z : kShapes)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << z.text() << " " << name(t));
      const Tensor x = random(s, z, 1, -1, 1, t);
      const Guarded y(s, {z[1], z[0], z[2]}, t);
      launch(kernels::SwapAxes{.x = x.cref(), .y = y.ref()}, s);
      const std::vector<double> in = to_double(s, x), out = to_double(s, y.tensor());
      ASSERT_EQ(out.size(), in.size());
      for (int64_t i = 0; i < z[0]; ++i)
        for (int64_t j = 0; j < z[1]; ++j)
          for (int64_t k = 0; k < z[2]; ++k)
            ASSERT_EQ(out[size_t((j * z[0] + i) * z[2] + k)], in[size_t((i * z[1] + j) * z[2] + k)]);
      y.check();
    }
}

TEST_P(SwapAxesTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  const auto f = [](Ctx& c, const std::vector<Var>& in) { return swap_axes(c, in[0]); };
  check_gradients(s, Init(), {random(s, {2, 5, 3}, 1)}, f);
  Recorded pass(s);
  Ctx c = pass.ctx();
  f(c, {pass.tape.leaf(random(s, {2, 5, 3}, 1))});
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(SwapAxesTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_THROW(swap_axes(c, {random(s, {2, 5}, 1)}), ShapeError);
  EXPECT_THROW(swap_axes(c, {random_ints(s, {2, 5, 3}, 1, 0, 9)}), DTypeError);
  const Tensor x = random(s, {2, 5, 3}, 1);
  const Guarded same(s, {2, 5, 3}), half(s, {5, 2, 3}, DType::kBF16);
  EXPECT_THROW(launch(kernels::SwapAxes{.x = x.cref(), .y = same.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::SwapAxes{.x = x.cref(), .y = half.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::swap_axes_test
