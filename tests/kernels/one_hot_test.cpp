// One-hot labels.
#include "kernels/one_hot.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::one_hot_test {
namespace {

using OneHotTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, OneHotTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(OneHotTest, MarksTheLabelAndMakesRowsOfBadLabelsNan) {
  const Stream s(device());
  const std::vector<int32_t> values{2, 0, -1, 6, 5, 7};
  for (const DType t : {DType::kF32, DType::kBF16}) {
    const Tensor labels = Tensor::from<int32_t>(s, values, {6});
    const Guarded y(s, {6, 6}, t);
    launch(kernels::OneHot{.labels = labels.cref(), .y = y.ref()}, s);
    const std::vector<double> got = to_double(s, y.tensor());
    for (int64_t r = 0; r < 6; ++r)
      for (int64_t k = 0; k < 6; ++k) {
        const double v = got[size_t(r * 6 + k)];
        const int32_t label = values[size_t(r)];
        if (label < 0 || label > 5)
          EXPECT_TRUE(std::isnan(v)) << r;
        else
          EXPECT_EQ(v, k == label ? 1.0 : 0.0) << r << " " << k;
      }
    y.check();
  }
}

TEST_P(OneHotTest, TheOpGivesFloatsAndTakesNoLabelsAtAll) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_EQ(to_double(s, one_hot(c, Tensor::from<int32_t>(s, std::vector<int32_t>{1, 0}, {2}), 3)),
            (std::vector<double>{0, 1, 0, 1, 0, 0}));
  EXPECT_EQ(one_hot(c, Tensor::empty(s, {0}, DType::kI32), 3).numel(), 0);
}

TEST_P(OneHotTest, WithoutLabelsItIsTheIdentity) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_EQ(to_double(s, identity(c, 3)), (std::vector<double>{1, 0, 0, 0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(identity(c, 0).shape(), (Shape{0, 0}));
  const Guarded y(s, {2, 2}, DType::kBF16);
  launch(kernels::OneHot{.y = y.ref()}, s);
  EXPECT_EQ(to_double(s, y.tensor()), (std::vector<double>{1, 0, 0, 1}));
  y.check();
  EXPECT_THROW(launch(kernels::OneHot{.y = random(s, {2, 3}, 1).ref()}, s), ShapeError);
}

TEST_P(OneHotTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor labels = random_ints(s, {3}, 1, 0, 4), y = random(s, {2, 4}, 1);
  EXPECT_THROW(launch(kernels::OneHot{.labels = labels.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::OneHot{.labels = y.cref(), .y = y.ref()}, s), DTypeError);
}

}  // namespace
}  // namespace sluice::test::one_hot_test
