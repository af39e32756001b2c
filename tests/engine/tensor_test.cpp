// Tensors: views, copies, shape errors; bf16 rounding.
#include <cmath>
#include <limits>

#include "tests/support/support.h"

namespace sluice::tensor_test {
namespace {

using test::random_values;
using testing::ElementsAre;

class TensorTest : public test::OnEachDevice {
 protected:
  template <class T>
  Tensor make(const std::vector<T>& v, Shape shape) const {
    return Tensor::from<T>(stream, v, shape);
  }
  const Stream stream{device()};
};

template <class T>
void round_trip(const Stream& s, const std::vector<T>& values) {
  const Tensor t = Tensor::from<T>(s, values, {int64_t(values.size())});
  EXPECT_EQ(t.dtype(), dtype_of<T>::value);
  EXPECT_EQ(t.bytes(), int64_t(values.size() * sizeof(T)));
  const std::vector<T> back = t.to_vector<T>(s);
  ASSERT_EQ(back.size(), values.size());
  if (values.empty()) return;  // memcmp takes no null pointers
  EXPECT_EQ(std::memcmp(back.data(), values.data(), values.size() * sizeof(T)), 0);
}

TEST_P(TensorTest, CarriesEveryDtypeToTheDeviceAndBack) {
  round_trip<float>(stream, {1.5f, -0.0f, std::numeric_limits<float>::infinity(), NAN});
  round_trip<bf16>(stream, {bf16(1.5f), bf16(-3.0f)});
  round_trip<int32_t>(stream, {-1, std::numeric_limits<int32_t>::max()});
  round_trip<int64_t>(stream, {std::numeric_limits<int64_t>::min(), 5});
  round_trip<uint8_t>(stream, {0, 255, 7});
  round_trip<float>(stream, {});
}

TEST_P(TensorTest, ReadsHostValuesBeforeTheCallReturns) {
  std::vector<float> values{1, 2, 3};
  const Tensor t = make(values, {3});
  values.assign(3, 0);
  EXPECT_THAT(t.to_vector<float>(stream), ElementsAre(1, 2, 3));
}

TEST_P(TensorTest, ViewsShareTheStorage) {
  const Tensor t = make<float>({0, 1, 2, 3, 4, 5}, {3, 2});
  EXPECT_THAT(t.rows(1, 2).to_vector<float>(stream), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(t.rows(1, 2).shape(), (Shape{2, 2}));
  EXPECT_EQ(t.rows(3, 0).shape(), (Shape{0, 2}));
  EXPECT_THAT(t.flat_view(1, {2, 2}).to_vector<float>(stream), ElementsAre(1, 2, 3, 4));
  Tensor middle = t.reshape({2, 3}).rows(1, 1);
  EXPECT_EQ(middle.storage(), t.storage());
  middle.assign<float>(stream, std::vector<float>{7, 8, 9});
  EXPECT_THAT(t.to_vector<float>(stream), ElementsAre(0, 1, 2, 7, 8, 9));
}

TEST_P(TensorTest, IsUniqueWhileNobodyElseHoldsTheStorage) {
  Tensor t = Tensor::empty(stream, {4});
  EXPECT_TRUE(t.unique());
  {
    const Tensor view = t.rows(0, 2);
    EXPECT_FALSE(t.unique());
    EXPECT_FALSE(view.unique());
  }
  EXPECT_TRUE(t.unique());
  EXPECT_FALSE(Tensor().unique());
}

TEST_P(TensorTest, RefusesWhatDoesNotFit) {
  Tensor t = Tensor::empty(stream, {3, 2});
  EXPECT_THROW(t.reshape({5}), ShapeError);
  EXPECT_THROW(t.rows(2, 2), ShapeError);
  EXPECT_THROW(t.rows(-1, 1), ShapeError);
  EXPECT_THROW(t.rows(0, -1), ShapeError);
  EXPECT_THROW(Tensor::empty(stream, {}).rows(0, 1), ShapeError);
  EXPECT_THROW(t.flat_view(4, {3}), ShapeError);
  EXPECT_THROW(t.flat_view(-1, {1}), ShapeError);
  EXPECT_THROW(t.assign<float>(stream, std::vector<float>(5)), ShapeError);
  EXPECT_THROW(t.assign<int32_t>(stream, std::vector<int32_t>(6)), DTypeError);
  EXPECT_THROW(t.to_vector<bf16>(stream), DTypeError);
  EXPECT_THROW(copy(stream, t, Tensor::empty(stream, {2, 3})), ShapeError);
  EXPECT_THROW(copy(stream, t, Tensor::empty(stream, {3, 2}, DType::kBF16)), DTypeError);
  EXPECT_THROW(Tensor({1 << 20}, DType::kF32, t.storage()), ShapeError);
  EXPECT_THROW(Tensor({1}, DType::kF32, t.storage(), -4), ShapeError);
  EXPECT_THROW(Tensor({1}, DType::kF32, t.storage(), 2), ShapeError);
  EXPECT_NO_THROW(stream.sync());  // nothing was queued
}

TEST_P(TensorTest, CopiesBetweenStreamsInOrder) {
  const Stream other(device());
  const Tensor from = make(random_values(1000, 3), {10, 100});
  const Tensor to = Tensor::empty(other, {10, 100});
  other.wait(stream.record());
  copy(other, from, to);
  EXPECT_EQ(to.to_vector<float>(other), random_values(1000, 3));
  copy(other, Tensor::empty(other, {0, 4}), Tensor::empty(other, {0, 4}));
  EXPECT_NO_THROW(other.sync());
}

TEST_P(TensorTest, CopiesHostRangesInPlace) {
  std::vector<float> in = random_values(64, 5), out(64);
  const Tensor t = Tensor::empty(stream, {64});
  copy_from_host(stream, in.data(), t);
  copy_to_host(stream, t, out.data());
  stream.sync();
  EXPECT_EQ(out, in);
}

INSTANTIATE_TEST_SUITE_P(Devices, TensorTest, testing::ValuesIn(test::test_devices()), test::device_label);

TEST(ShapeTest, CountsAndPrints) {
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ((Shape{2, 3, 4}.rows()), 6);
  EXPECT_EQ((Shape{2, 3, 4}.cols()), 4);
  EXPECT_EQ((Shape{5, 0}.rows()), 5);
  EXPECT_EQ((Shape{2, 0, 3}.text()), "[2, 0, 3]");
  EXPECT_FALSE((Shape{2, 3} == Shape{3, 2}));
  EXPECT_FALSE((Shape{1} == Shape{}));
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), ShapeError);
  EXPECT_THROW((Shape{2, -1}), ShapeError);
}

uint32_t bits_of(float v) {
  uint32_t u;
  std::memcpy(&u, &v, 4);
  return u;
}
float from_bits(uint32_t u) {
  float v;
  std::memcpy(&v, &u, 4);
  return v;
}

TEST(Bf16, SpecialValues) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bf16(inf).bits, 0x7f80);
  EXPECT_EQ(bf16(-inf).bits, 0xff80);
  EXPECT_EQ(bf16(-0.0f).bits, 0x8000);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);  // rounds up to infinity
  EXPECT_EQ(bf16(from_bits(0x7f7f7fff)).bits, 0x7f7f);              // just below the tie stays finite
  EXPECT_EQ(bf16(from_bits(1)).bits, 0);                            // the smallest subnormal
  for (const uint32_t nan : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u}) {
    EXPECT_TRUE(std::isnan(float(bf16(from_bits(nan))))) << std::hex << nan;
    EXPECT_EQ(bf16(from_bits(nan)).bits >> 15, nan >> 31) << "the sign of a NaN";
  }
}

TEST(Bf16, KeepsWhatIsRepresentable) {
  for (uint32_t b = 0; b < 65536; ++b) {
    bf16 v;
    v.bits = uint16_t(b);
    if (std::isnan(float(v))) continue;
    ASSERT_EQ(bf16(float(v)).bits, b);
  }
}

TEST(Bf16, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(bf16(from_bits(0x3f808000)).bits, 0x3f80);  // a tie, down to even
  EXPECT_EQ(bf16(from_bits(0x3f818000)).bits, 0x3f82);  // a tie, up to even
  EXPECT_EQ(bf16(from_bits(0x3f808001)).bits, 0x3f81);
  for (const float x : random_values(20000, 17, -1e4f, 1e4f)) {
    const bf16 r(x);
    bf16 next;
    next.bits = uint16_t(r.bits + 1);
    bf16 last;
    last.bits = uint16_t(r.bits - 1);
    const double error = std::abs(double(float(r)) - double(x));
    ASSERT_LE(error, std::abs(double(float(next)) - double(x))) << bits_of(x);
    ASSERT_LE(error, std::abs(double(float(last)) - double(x))) << bits_of(x);
  }
}

}  // namespace
}  // namespace sluice::tensor_test
