// The weight gradient from packed signs against sums in double, also for shapes whose rows share bytes.
#include "kernels/sign_grad_weight.h"

#include "tests/kernels/packed_bits.h"

namespace sluice::test::sign_grad_weight_test {
namespace {

using SignGradWeightTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, SignGradWeightTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t rows, in, out;
};
// 2100 x 1003: several pieces of expanded rows on a CPU.
const std::vector<Case> kCases{{1, 1, 1}, {3, 5, 7}, {33, 65, 66}, {70, 40, 3}, {0, 8, 4}};

struct Expected {
  std::vector<double> dw, db;
};
Expected reference(const Case& k, const std::vector<bool>& bits, const std::vector<double>& dz, double scale,
                   double zero) {
  Expected e{std::vector<double>(size_t(k.out * k.in)), std::vector<double>(size_t(k.out))};
  for (int64_t r = 0; r < k.rows; ++r)
    for (int64_t o = 0; o < k.out; ++o) {
      const double d = dz[size_t(r * k.out + o)];
      e.db[size_t(o)] += d;
      for (int64_t i = 0; i < k.in; ++i)
        e.dw[size_t(o * k.in + i)] += scale * d * (bits[size_t(r * k.in + i)] ? 1 : zero);
    }
  return e;
}

void check(const Stream& s, const Case& k, DType t, float zero, bool accumulate) {
  SCOPED_TRACE(testing::Message() << name(t) << " " << k.rows << "x" << k.in << "x" << k.out << " zero " << zero
                                  << (accumulate ? " added" : ""));
  const std::vector<bool> signs = positive(to_double(s, with_zeroes(s, {k.rows, k.in}, 1, DType::kF32)));
  const Tensor bits = bytes_on(s, packed(signs));
  const Tensor dz = random(s, {k.rows, k.out}, 2, -1, 1, t);
  const Guarded dw(s, {k.out, k.in}), db(s, {k.out});
  kernels::SignGradWeight call{
      .bits = bits.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref(), .scale = 0.5f, .zero = zero};
  launch(call, s);
  Expected e = reference(k, signs, to_double(s, dz), 0.5, double(zero));
  if (accumulate) {
    call.accumulate_w = call.accumulate_b = true;
    launch(call, s);
    for (double& v : e.dw) v *= 2;
    for (double& v : e.db) v *= 2;
  }
  expect_close(to_double(s, dw.tensor()), e.dw, bound(t));
  expect_close(to_double(s, db.tensor()), e.db, bound(t));
  dw.check();
  db.check();
}

TEST_P(SignGradWeightTest, MatchesSumsInDouble) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device())))
    for (const Case& k : kCases)
      for (const float zero : {-1.0f, 0.0f})
        for (const bool accumulate : {false, true}) check(s, k, t, zero, accumulate);
  if (s.is_cpu()) check(s, {2100, 1003, 9}, DType::kF32, -1, true);
}

TEST_P(SignGradWeightTest, BiasGradientIsOptional) {
  const Stream s(device());
  const Tensor bits = bytes_on(s, {5}), dz = Tensor::from<float>(s, std::vector<float>{2, 3, 5, 7}, {1, 4});
  const Guarded dw(s, {4, 3});
  launch(kernels::SignGradWeight{.bits = bits.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = {}}, s);
  EXPECT_EQ(to_double(s, dw.tensor()), (std::vector<double>{2, -2, 2, 3, -3, 3, 5, -5, 5, 7, -7, 7}));
  dw.check();
}

TEST_P(SignGradWeightTest, RefusesShapesThatDoNotFit) {
  const Stream s(device());
  const Tensor dz = random(s, {4, 3}, 1), dw = random(s, {3, 16}, 2), bits = Tensor::empty(s, {8}, DType::kU8);
  const auto with = [&](const Tensor& b, const Tensor& w, const Tensor& bias) {
    launch(kernels::SignGradWeight{.bits = b.cref(), .dz = dz.cref(), .dw = w.ref(), .db = bias.ref()}, s);
  };
  EXPECT_THROW(with(Tensor::empty(s, {9}, DType::kU8), dw, Tensor::empty(s, {3})), ShapeError);
  EXPECT_THROW(with(bits, random(s, {4, 16}, 2), Tensor::empty(s, {3})), ShapeError);
  EXPECT_THROW(with(bits, dw, Tensor::empty(s, {4})), ShapeError);
  EXPECT_THROW(with(dz, dw, Tensor::empty(s, {3})), DTypeError);
}

}  // namespace
}  // namespace sluice::test::sign_grad_weight_test
