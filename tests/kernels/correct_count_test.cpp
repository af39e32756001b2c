// Counting right answers: ties, NaN and labels out of range included.
#include "kernels/correct_count.h"

#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::correct_count_test {
namespace {

using CorrectCountTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, CorrectCountTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(CorrectCountTest, TheFirstOfEqualsAnswersAndNanNeverDoes) {
  const Stream s(device());
  const float n = NAN, low = -INFINITY;
  const std::vector<float> logits{1,      3, 2, /**/ 5,   5,   1,   /**/ 5, 5, 1, /**/ n, 2, 1,
                                  /**/ n, n, n, /**/ low, low, low, 1,      2, 3, /**/ 1, 2, 3};
  const std::vector<int32_t> labels{1, 0, 1, 1, 0, 0, 3, -1};  // right: rows 0, 1, 3, 5
  const Tensor x = Tensor::from<float>(s, logits, {8, 3}), l = Tensor::from<int32_t>(s, labels, {8});
  const Guarded count(s, {1});
  launch(kernels::CorrectCount{.logits = x.cref(), .labels = l.cref(), .count = count.ref()}, s);
  EXPECT_EQ(to_double(s, count.tensor())[0], 4.0);
  count.check();
}

TEST_P(CorrectCountTest, MatchesAScanOnAwkwardShapes) {
  const Stream s(device());
  for (const auto& [rows, cols] : kAwkward2d)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(testing::Message() << rows << "x" << cols << " " << name(t));
      const Tensor x = random(s, {rows, cols}, 1, -1, 1, t),
                   l = random_ints(s, {rows}, 2, 0, int32_t(std::min<int64_t>(cols, 3)));
      const std::vector<double> v = to_double(s, x), labels = to_double(s, l);
      double expected = 0;
      for (int64_t r = 0; r < rows; ++r) {
        const auto row = v.begin() + r * cols;
        expected += std::max_element(row, row + cols) - row == int64_t(labels[size_t(r)]) ? 1 : 0;
      }
      Recorded pass(s);
      Ctx c = pass.ctx();
      EXPECT_EQ(to_double(s, correct_count(c, x, l))[0], expected);
      const Guarded count(s, {1});
      launch(kernels::CorrectCount{.logits = x.cref(), .labels = l.cref(), .count = count.ref()}, s);
      EXPECT_EQ(to_double(s, count.tensor())[0], expected);
    }
}

TEST_P(CorrectCountTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {3, 4}, 1), labels = random_ints(s, {2}, 1, 0, 4), count = random(s, {1}, 1);
  EXPECT_THROW(launch(kernels::CorrectCount{.logits = x.cref(), .labels = labels.cref(), .count = count.ref()}, s),
               ShapeError);
  EXPECT_THROW(launch(kernels::CorrectCount{.logits = labels.cref(), .labels = labels.cref(), .count = count.ref()}, s),
               DTypeError);
}

}  // namespace
}  // namespace sluice::test::correct_count_test
