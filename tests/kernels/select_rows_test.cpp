// Batch compaction: chosen samples along the first and the second dimension, of every dtype.
#include "kernels/select_rows.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::select_rows_test {
namespace {

using SelectRowsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SelectRowsTest, testing::ValuesIn(test_devices()), device_label);

Tensor values(const Stream& s, const Shape& shape, DType t) {
  if (t == DType::kF32 || t == DType::kBF16) return random(s, shape, 1, -1, 1, t);
  if (t == DType::kI32) return random_ints(s, shape, 1, -9, 9);
  std::vector<uint8_t> bytes(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = uint8_t(i * 7);
  return Tensor::from<uint8_t>(s, bytes, shape);
}

TEST_P(SelectRowsTest, TakesTheNamedSamplesInTheirOrder) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16, DType::kI32, DType::kU8})
    for (const int64_t inner : {1, 3, 8, 65})
      for (const int axis : {0, 1})
        for (const std::vector<int32_t>& index :
             {std::vector<int32_t>{4, 0, 4}, std::vector<int32_t>{2}, std::vector<int32_t>{}}) {
          SCOPED_TRACE(testing::Message()
                       << name(t) << " inner " << inner << " axis " << axis << " of " << index.size());
          const int64_t n = int64_t(index.size()), outer = axis == 0 ? 1 : 3;
          const Tensor x = values(s, axis == 0 ? Shape{5, inner} : Shape{3, 5, inner}, t);
          const Guarded y(s, axis == 0 ? Shape{n, inner} : Shape{3, n, inner}, t);
          const Tensor picked = Tensor::from<int32_t>(s, index, {n});
          launch(kernels::SelectRows{.x = x.cref(), .index = picked.cref(), .y = y.ref(), .axis = axis}, s);
          const std::vector<double> from = to_double(s, x);
          std::vector<double> expected;
          for (int64_t o = 0; o < outer; ++o)
            for (const int32_t k : index)
              for (int64_t i = 0; i < inner; ++i) expected.push_back(from[size_t((o * 5 + k) * inner + i)]);
          EXPECT_EQ(to_double(s, y.tensor()), expected);
          y.check();
        }
}

TEST_P(SelectRowsTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {4, 3}, 1), two = random(s, {2, 3}, 1), index = random_ints(s, {2}, 1, 0, 4);
  EXPECT_THROW(launch(kernels::SelectRows{.x = x.cref(), .index = index.cref(), .y = x.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::SelectRows{.x = x.cref(), .index = index.cref(), .y = two.ref(), .axis = 2}, s),
               ShapeError);
  EXPECT_THROW(launch(kernels::SelectRows{.x = x.cref(), .index = x.cref(), .y = two.ref()}, s), DTypeError);
  Recorded pass(s);
  Ctx c = pass.ctx();
  EXPECT_EQ(select_rows(c, x, index, 0).shape(), (Shape{2, 3}));
}

}  // namespace
}  // namespace sluice::test::select_rows_test
