// Masked mean over time against the formula in double: both layouts, empty samples, what masks hide.
#include "kernels/masked_mean.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/recorded.h"

namespace sluice::test::masked_mean_test {
namespace {

using MaskedMeanTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, MaskedMeanTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t batch, time, cols;
};
const std::vector<Case> kCases{{1, 1, 1}, {3, 5, 31}, {7, 17, 129}, {2, 64, 260}, {0, 4, 8}, {3, 0, 8}, {2, 3, 0}};

Shape sequence(const Case& e, int axis) {
  return axis == 1 ? Shape{e.batch, e.time, e.cols} : Shape{e.time, e.batch, e.cols};
}
size_t row_of(const Case& e, int axis, int64_t b, int64_t t) {
  return size_t(axis == 1 ? b * e.time + t : t * e.batch + b);
}

struct Reference {
  std::vector<double> y, share, dx;
};
Reference reference(const Case& e, int axis, const std::vector<double>& x, const std::vector<double>& mask,
                    const std::vector<double>& dy) {
  Reference r;
  const size_t cols = size_t(e.cols);
  r.dx.assign(x.size(), 0.0);
  for (int64_t b = 0; b < e.batch; ++b) {
    double tokens = 0;
    for (int64_t t = 0; t < e.time; ++t) tokens += mask[row_of(e, axis, b, t)] != 0 ? 1 : 0;
    r.share.push_back(1 / std::max(1.0, tokens));
    for (size_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < e.time; ++t) {
        const size_t row = row_of(e, axis, b, t);
        if (mask[row] == 0) continue;
        sum += x[row * cols + j];
        r.dx[row * cols + j] = dy[size_t(b) * cols + j] * r.share.back();
      }
      r.y.push_back(sum * r.share.back());
    }
  }
  return r;
}

TEST_P(MaskedMeanTest, MatchesTheFormulaInBothLayouts) {
  const Stream s(device());
  for (const Case& e : kCases)
    for (const int axis : {0, 1})
      for (const bool masked : {true, false})
        for (const DType t : {DType::kF32, DType::kBF16}) {
          const Shape shape = sequence(e, axis);
          SCOPED_TRACE(testing::Message() << shape.text() << " " << axis << masked << name(t));
          const Tensor x = random(s, shape, 1, -1, 2, t), dy = random(s, {e.batch, e.cols}, 2, -1, 1, t);
          Recorded pass(s);
          Ctx c = pass.ctx();
          const Tensor mask = token_mask(c, random_ints(s, {shape[0], shape[1]}, 3, 0, 2));
          const ConstRef kept = masked ? mask.cref() : ConstRef{};
          const Guarded y(s, {e.batch, e.cols}, t), share(s, {e.batch}), dx(s, shape, t);
          launch(kernels::MaskedMean{.x = x.cref(), .mask = kept, .y = y.ref(), .share = share.ref(), .axis = axis}, s);
          launch(
              kernels::MaskedMeanGrad{
                  .dy = dy.cref(), .mask = kept, .share = share.tensor().cref(), .dx = dx.ref(), .axis = axis},
              s);
          const std::vector<double> keep =
              masked ? to_double(s, mask) : std::vector<double>(size_t(shape[0] * shape[1]), 1.0);
          const Reference r = reference(e, axis, to_double(s, x), keep, to_double(s, dy));
          expect_close(to_double(s, y.tensor()), r.y, bound(t));
          expect_close(to_double(s, share.tensor()), r.share, bound(DType::kF32));
          expect_close(to_double(s, dx.tensor()), r.dx, bound(t));
          y.check();
          share.check();
          dx.check();
        }
}

TEST_P(MaskedMeanTest, ASampleWithoutTokensGivesZeroesWhateverStandsThere) {
  const Stream s(device());
  const float nan = std::nanf("");
  for (const int axis : {0, 1}) {
    // In both layouts sample 0 has no tokens, sample 1 one; what the mask hides is NaN.
    const std::vector<float> x{nan, nan, nan, 5};
    const Tensor mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>{0, 0, 0, 1}, {2, 2});
    Recorded pass(s);
    Ctx c = pass.ctx();
    const Var in = pass.tape.leaf(Tensor::from<float>(s, x, {2, 2, 1}));
    const Var y = masked_mean(c, in, mask, axis);
    EXPECT_EQ(to_double(s, y.value), (std::vector<double>{0, 5}));
    BackwardCtx b = pass.backward_ctx();
    pass.tape.backward({{y, Tensor::from<float>(s, std::vector<float>{3, 4}, {2, 1})}}, b);
    EXPECT_EQ(to_double(s, pass.tape.take_grad(in)), (std::vector<double>{0, 0, 0, 4}));
  }
}

TEST_P(MaskedMeanTest, GradientsAgreeWithDifferences) {
  const Stream s(device());
  const Tensor mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>{1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1}, {3, 4});
  for (const int axis : {0, 1})
    for (const Tensor& m : {mask, Tensor()})
      check_gradients(s, Init(), {random(s, {3, 4, 5}, 1)},
                      [&](Ctx& c, const std::vector<Var>& in) { return masked_mean(c, in[0], m, axis); });
}

TEST_P(MaskedMeanTest, KeepsTheMaskAndOneNumberASample) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x = pass.tape.leaf(random(s, {4, 9, 6}, 1));
  const Var y = masked_mean(c, x, token_mask(c, random_ints(s, {4, 9}, 2, 0, 2)), 1);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), 36);
  EXPECT_EQ(pass.ledger.bytes(SaveKind::kStats), 16);
  EXPECT_EQ(pass.ledger.bytes(), 52);
  BackwardCtx b = pass.backward_ctx();
  pass.tape.backward({{y, random(s, {4, 6}, 3)}}, b);
  EXPECT_EQ(pass.ledger.bytes(), 0);
}

TEST_P(MaskedMeanTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  Recorded pass(s);
  Ctx c = pass.ctx();
  const Var x{random(s, {2, 3, 4}, 1)};
  const Tensor mask = token_mask(c, random_ints(s, {2, 3}, 2, 0, 2)), turned = transpose_ids(c, mask);
  EXPECT_NO_THROW(masked_mean(c, x, mask, 0));
  EXPECT_THROW(masked_mean(c, x, turned, 1), ShapeError);
  EXPECT_THROW(masked_mean(c, x, mask, 2), ShapeError);
  EXPECT_THROW(masked_mean(c, x, random_ints(s, {2, 3}, 2, 0, 2), 1), DTypeError);
  EXPECT_THROW(masked_mean(c, {random(s, {2, 3}, 1)}, mask, 1), ShapeError);
  const Guarded y(s, {2, 4}), share(s, {3});
  EXPECT_THROW(launch(kernels::MaskedMean{.x = x.value.cref(), .y = y.ref(), .share = share.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::masked_mean_test
