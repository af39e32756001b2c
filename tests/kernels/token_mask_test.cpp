// The token mask.
#include "kernels/token_mask.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::token_mask_test {
namespace {

using TokenMaskTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TokenMaskTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(TokenMaskTest, MarksEveryIdButPadding) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d) {
    SCOPED_TRACE(testing::Message() << rows << "x" << cols);
    const Tensor ids = random_ints(s, {rows, cols}, 1, -1, 3);
    const Guarded mask(s, {rows, cols}, DType::kU8);
    launch(kernels::TokenMask{.ids = ids.cref(), .mask = mask.ref()}, s);
    std::vector<double> expected;
    for (const double id : to_double(s, ids)) expected.push_back(id != 0 ? 1 : 0);
    EXPECT_EQ(to_double(s, mask.tensor()), expected);
    mask.check();
  }
}

TEST_P(TokenMaskTest, TheOpKeepsTheShape) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Tensor mask = token_mask(c, Tensor::from<int32_t>(s, std::vector<int32_t>{7, 0, 256, 65536}, {2, 2, 1}));
  EXPECT_EQ(mask.shape(), (Shape{2, 2, 1}));
  EXPECT_EQ(to_double(s, mask), (std::vector<double>{1, 0, 1, 1}));
  EXPECT_EQ(pass.tape.size(), 0u);
}

TEST_P(TokenMaskTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor ids = random_ints(s, {4}, 1, 0, 3);
  const Guarded mask(s, {4}, DType::kU8), five(s, {5}, DType::kU8);
  EXPECT_THROW(launch(kernels::TokenMask{.ids = ids.cref(), .mask = five.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::TokenMask{.ids = ids.cref(), .mask = ids.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::TokenMask{.ids = mask.tensor().cref(), .mask = mask.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::token_mask_test
