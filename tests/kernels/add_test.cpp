// Element-wise sums and products with a device scalar, and the ops that only pass gradients on.
#include "kernels/add.h"

#include "kernels/scale.h"
#include "tests/kernels/recorded.h"

namespace sluice::test::add_test {
namespace {

using AddTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AddTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(AddTest, SumsAndProductsMatchOnAwkwardShapes) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t));
      const Tensor a = random(s, {rows, cols}, 1, -1, 1, t), b = random(s, {rows, cols}, 2, -1, 1, t);
      const Tensor factor = random(s, {1}, 3);
      const Guarded sum(s, {rows, cols}, t), product(s, {rows, cols}, t);
      launch(kernels::Add{.a = a.cref(), .b = b.cref(), .y = sum.ref()}, s);
      launch(kernels::Scale{.x = a.cref(), .factor = factor.cref(), .y = product.ref()}, s);
      const std::vector<double> x = to_double(s, a), z = to_double(s, b);
      const double f = to_double(s, factor)[0];
      std::vector<double> sums, products;
      for (size_t i = 0; i < x.size(); ++i) {
        sums.push_back(x[i] + z[i]);
        products.push_back(x[i] * f);
      }
      expect_close(to_double(s, sum.tensor()), sums, bound(t));
      expect_close(to_double(s, product.tensor()), products, bound(t));
      sum.check();
      product.check();
      launch(kernels::Add{.a = a.cref(), .b = b.cref(), .y = b.ref()}, s);
      expect_close(to_double(s, b), sums, bound(t));  // in place
    }
}

TEST_P(AddTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor a = random(s, {2, 3}, 1), b = random(s, {3, 2}, 1), half = random(s, {2, 3}, 1, -1, 1, DType::kBF16);
  EXPECT_THROW(launch(kernels::Add{.a = a.cref(), .b = b.cref(), .y = a.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::Add{.a = a.cref(), .b = half.cref(), .y = a.ref()}, s), DTypeError);
  EXPECT_THROW(launch(kernels::Scale{.x = a.cref(), .factor = a.cref(), .y = a.ref()}, s), ShapeError);
}

TEST_P(AddTest, GradientsAgreeWithDifferencesWhereAValueIsReadTwice) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {3, 5}, 1), random(s, {3, 5}, 2)}, [](Ctx& c, const std::vector<Var>& in) {
    const Var once = add(c, in[0], activation(c, in[1], Act::kTanh));
    return add(c, once, add(c, in[0], once));
  });
}

TEST_P(AddTest, FlattenIsAViewInBothDirections) {
  const Stream s(device());
  check_gradients(s, Init(), {random(s, {2, 3, 2, 2}, 1)},
                  [](Ctx& c, const std::vector<Var>& in) { return activation(c, flatten(c, in[0]), Act::kTanh); });
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {2, 3, 2, 2}, 1)), y = flatten(c, x);
  EXPECT_EQ(y.shape(), (Shape{2, 12}));
  EXPECT_EQ(y.value.storage(), x.value.storage());
  EXPECT_EQ(flatten(c, Var{Tensor::empty(s, {0, 3, 4})}).shape(), (Shape{0, 12}));
  const Var rows = as_rows(c, x);
  EXPECT_EQ(rows.shape(), (Shape{12, 2}));
  EXPECT_EQ(rows.value.storage(), x.value.storage());
  check_gradients(s, Init(), {random(s, {2, 3, 2}, 1)},
                  [](Ctx& g, const std::vector<Var>& in) { return activation(g, as_rows(g, in[0]), Act::kTanh); });
}

}  // namespace
}  // namespace sluice::test::add_test
