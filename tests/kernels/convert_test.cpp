// Conversion between f32 and bf16.
#include "kernels/convert.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::convert_test {
namespace {

using ConvertTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ConvertTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(ConvertTest, RoundsToNearestEvenAndWidensExactly) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d) {
    SCOPED_TRACE(testing::Message() << rows << "x" << cols);
    const Tensor x = random(s, {rows, cols}, 1);
    const Guarded narrow(s, {rows, cols}, DType::kBF16), wide(s, {rows, cols});
    launch(kernels::Convert{.x = x.cref(), .y = narrow.ref()}, s);
    launch(kernels::Convert{.x = narrow.tensor().cref(), .y = wide.ref()}, s);
    std::vector<double> expected;
    for (const float v : x.to_vector<float>(s)) expected.push_back(double(float(bf16(v))));
    EXPECT_EQ(to_double(s, narrow.tensor()), expected);
    EXPECT_EQ(to_double(s, wide.tensor()), expected);
    narrow.check();
    wide.check();
  }
}

TEST_P(ConvertTest, TheOpConvertsTheGradientBack) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {3, 5}, 1, -1, 1, DType::kBF16));
  const Var y = convert(c, x, DType::kF32);
  EXPECT_EQ(y.value.dtype(), DType::kF32);
  EXPECT_EQ(convert(c, x, DType::kBF16).node, x.node) << "nothing to do";
  EXPECT_EQ(pass.ledger.bytes(), 0);
  BackwardCtx b = pass.backward_ctx();
  const Tensor dy = random(s, {3, 5}, 2);
  pass.tape.backward({{y, dy}}, b);
  const Tensor dx = pass.tape.take_grad(x);
  EXPECT_EQ(dx.dtype(), DType::kBF16);
  expect_close(to_double(s, dx), to_double(s, dy), bound(DType::kBF16));
}

TEST_P(ConvertTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3}, 1), half = random(s, {4}, 1, -1, 1, DType::kBF16), ids = random_ints(s, {3}, 1, 0, 2);
  EXPECT_THROW(launch(kernels::Convert{.x = x.cref(), .y = x.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::Convert{.x = x.cref(), .y = half.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Convert{.x = ids.cref(), .y = x.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::convert_test
