// Auxiliary bias activation: the closed forms against the sums that they replace, in double: the input shifted by the
// vector, a weight gradient over repeated rows, and the vector's gradient as the column sums of dz w.
#include "kernels/auxiliary_bias.h"

#include "tests/support/support.h"

namespace sluice::test::auxiliary_bias_test {
namespace {

using AuxiliaryBiasTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AuxiliaryBiasTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t rows, in, out, groups = 1;
  Shape vectors() const { return groups == 1 ? Shape{in} : Shape{groups, in}; }
  /// Element of the vectors that output o meets at input i.
  size_t at(int64_t o, int64_t i) const { return size_t(o / (out / groups) * in + i); }
};
const std::vector<Case> kCases{{1, 1, 1}, {3, 5, 7}, {300, 33, 65}, {20, 600, 530}, {0, 8, 4}, {9, 11, 15, 3}};

TEST_P(AuxiliaryBiasTest, FoldsTheVectorIntoTheBias) {
  const Stream s(device());
  for (const Case& k : kCases) {
    SCOPED_TRACE(testing::Message() << k.in << "x" << k.out);
    const Tensor w = random(s, {k.out, k.in}, 1), a = random(s, k.vectors(), 2), bias = random(s, {k.out}, 3);
    const std::vector<double> ws = to_double(s, w), as = to_double(s, a), bs = to_double(s, bias);
    for (const bool with_bias : {false, true}) {
      const Guarded y(s, {k.out});
      launch(
          kernels::AuxiliaryBias{
              .w = w.cref(), .a = a.cref(), .bias = with_bias ? bias.cref() : ConstRef{}, .y = y.ref()},
          s);
      std::vector<double> expected(size_t(k.out), 0.0);
      for (int64_t o = 0; o < k.out; ++o) {
        for (int64_t i = 0; i < k.in; ++i) expected[size_t(o)] += ws[size_t(o * k.in + i)] * as[k.at(o, i)];
        if (with_bias) expected[size_t(o)] += bs[size_t(o)];
      }
      expect_close(to_double(s, y.tensor()), expected, bound(DType::kF32));
      y.check();
    }
  }
}

void check_gradient(const Stream& s, const Case& k, DType t, bool accumulate) {
  SCOPED_TRACE(testing::Message() << name(t) << " " << k.rows << "x" << k.in << "x" << k.out
                                  << (accumulate ? " added" : ""));
  const Tensor w = random(s, {k.out, k.in}, 1), a = random(s, k.vectors(), 2),
               dz = random(s, {k.rows, k.out}, 3, -1, 1, t);
  const Guarded dw(s, {k.out, k.in}), db(s, {k.out}), da(s, k.vectors());
  kernels::AuxiliaryBiasGrad call{
      .dz = dz.cref(), .w = w.cref(), .a = a.cref(), .dw = dw.ref(), .db = db.ref(), .da = da.ref(), .scale = 100.0f};
  launch(call, s);
  if (accumulate) {
    call.accumulate_w = call.accumulate_b = call.accumulate_a = true;
    launch(call, s);
  }
  const std::vector<double> ws = to_double(s, w), as = to_double(s, a), ds = to_double(s, dz);
  std::vector<double> ew(ws.size(), 0.0), eb(size_t(k.out), 0.0), ea(as.size(), 0.0);
  for (int64_t r = 0; r < k.rows; ++r)
    for (int64_t o = 0; o < k.out; ++o) {
      const double d = ds[size_t(r * k.out + o)] * (accumulate ? 2 : 1);
      eb[size_t(o)] += d;
      for (int64_t i = 0; i < k.in; ++i) {
        ew[size_t(o * k.in + i)] += 100 * d * as[k.at(o, i)];
        ea[k.at(o, i)] += d * ws[size_t(o * k.in + i)];
      }
    }
  expect_close(to_double(s, dw.tensor()), ew, 1e-4);
  expect_close(to_double(s, db.tensor()), eb, 1e-4);
  expect_close(to_double(s, da.tensor()), ea, 1e-4);
  dw.check();
  db.check();
  da.check();
}

TEST_P(AuxiliaryBiasTest, GradientsEqualTheMaterialisedSums) {
  const Stream s(device());
  for (const DType t : {DType::kF32, DType::kBF16})
    for (const Case& k : kCases)
      for (const bool accumulate : {false, true}) check_gradient(s, k, t, accumulate);
}

TEST_P(AuxiliaryBiasTest, RefusesShapesThatDoNotFit) {
  const Stream s(device());
  const Tensor w = random(s, {3, 5}, 1), a = random(s, {5}, 2), y = Tensor::empty(s, {3});
  EXPECT_THROW(launch(kernels::AuxiliaryBias{.w = w.cref(), .a = y.cref(), .y = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::AuxiliaryBias{.w = w.cref(), .a = a.cref(), .y = a.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::AuxiliaryBias{.w = w.cref(), .a = a.cref(), .bias = a.cref(), .y = y.ref()}, s),
               ShapeError);
  EXPECT_THROW(launch(kernels::AuxiliaryBias{.w = w.cref(), .a = random(s, {2, 5}, 2).cref(), .y = y.ref()}, s),
               ShapeError);
  const Tensor dz = random(s, {4, 5}, 3);
  EXPECT_THROW(launch(
                   kernels::AuxiliaryBiasGrad{
                       .dz = dz.cref(), .w = w.cref(), .a = a.cref(), .dw = w.ref(), .db = {}, .da = a.ref()},
                   s),
               ShapeError);
}

}  // namespace
}  // namespace sluice::test::auxiliary_bias_test
