// Transposition of ids and masks.
#include "kernels/transpose_ids.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::transpose_ids_test {
namespace {

using TransposeIdsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TransposeIdsTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(TransposeIdsTest, SwapsRowsAndColumns) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d) {
    SCOPED_TRACE(testing::Message() << rows << "x" << cols);
    const Tensor x = random_ints(s, {rows, cols}, 1, -1000000, 1000000);
    const Guarded y(s, {cols, rows}, DType::kI32);
    launch(kernels::TransposeIds{.x = x.cref(), .y = y.ref()}, s);
    const std::vector<double> in = to_double(s, x), got = to_double(s, y.tensor());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        ASSERT_EQ(got[size_t(c * rows + r)], in[size_t(r * cols + c)]) << r << " " << c;
    y.check();
  }
}

TEST_P(TransposeIdsTest, TheOpTakesMasksAndGoesBack) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Tensor mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>{1, 0, 1, 1, 255, 0}, {2, 3});
  const Tensor turned = transpose_ids(c, mask);
  EXPECT_EQ(turned.shape(), (Shape{3, 2}));
  EXPECT_EQ(to_double(s, turned), (std::vector<double>{1, 1, 0, 255, 1, 0}));
  EXPECT_EQ(to_double(s, transpose_ids(c, turned)), to_double(s, mask));
}

TEST_P(TransposeIdsTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random_ints(s, {2, 3}, 1, 0, 9), y = random_ints(s, {3, 2}, 1, 0, 9), f = random(s, {2, 3}, 1);
  const Guarded bytes(s, {3, 2}, DType::kU8);
  EXPECT_NO_THROW(launch(kernels::TransposeIds{.x = x.cref(), .y = y.ref()}, s));
  EXPECT_THROW(launch(kernels::TransposeIds{.x = x.cref(), .y = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::TransposeIds{.x = x.cref(), .y = bytes.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::TransposeIds{.x = f.cref(), .y = f.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::transpose_ids_test
