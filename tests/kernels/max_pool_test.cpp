// Max pooling and its gradient against the definition, in double.
#include "kernels/max_pool.h"

#include <cmath>
#include <limits>

#include "tests/kernels/recorded.h"

namespace sluice::test::max_pool_test {
namespace {

using MaxPoolTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, MaxPoolTest, testing::ValuesIn(test_devices()), device_label);

struct PoolCase {
  Shape x;
  kernels::Pool2d pool;
};
const std::vector<PoolCase> kCases{
    {{2, 4, 6, 16}, {2, 2, 2, 0}},    {{1, 2, 2, 1}, {2, 2, 2, 0}},   {{3, 8, 4, 67}, {2, 2, 2, 0}},
    {{2, 5, 7, 3}, {2, 2, 2, 0}},     {{2, 7, 5, 65}, {3, 3, 2, 1}},  {{1, 9, 9, 7}, {3, 2, 1, 1}},
    {{2, 6, 6, 5}, {1, 1, 1, 0}},     {{1, 8, 8, 129}, {4, 3, 3, 0}}, {{0, 4, 4, 8}, {2, 2, 2, 0}},
    {{1, 16, 16, 2}, {16, 16, 1, 0}},
};

struct Winner {
  double value = -std::numeric_limits<double>::infinity();
  int64_t input = -1, index = 0;
};

/// The winner of every window, in the order of y.
std::vector<Winner> winners(const PoolCase& pc, const std::vector<double>& x) {
  const Shape out = pc.pool.output("test", pc.x);
  std::vector<Winner> all;
  for (int64_t n = 0; n < out[0]; ++n)
    for (int64_t p = 0; p < out[1]; ++p)
      for (int64_t q = 0; q < out[2]; ++q)
        for (int64_t c = 0; c < out[3]; ++c) {
          Winner best;
          for (int64_t i = 0; i < pc.pool.window_h; ++i)
            for (int64_t j = 0; j < pc.pool.window_w; ++j) {
              const int64_t h = p * pc.pool.stride - pc.pool.padding + i, w = q * pc.pool.stride - pc.pool.padding + j;
              if (h < 0 || h >= pc.x[1] || w < 0 || w >= pc.x[2]) continue;
              const int64_t at = ((n * pc.x[1] + h) * pc.x[2] + w) * pc.x[3] + c;
              if (best.input < 0 || x[size_t(at)] > best.value) best = {x[size_t(at)], at, i * pc.pool.window_w + j};
            }
          all.push_back(best);
        }
  return all;
}

TEST_P(MaxPoolTest, ForwardAndBackwardMatchTheDefinition) {
  const Stream s(device());
  for (const PoolCase& pc : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      const Shape out = pc.pool.output("test", pc.x);
      SCOPED_TRACE(testing::Message() << pc.x.text() << " " << name(t) << " to " << out.text());
      const Tensor x = random(s, pc.x, 1, -1, 1, t), dy = random(s, out, 2, -1, 1, t);  // bf16 has ties
      const Guarded y(s, out, t), plain(s, out, t), index(s, out, DType::kU8), dx(s, pc.x, t);
      launch(kernels::MaxPool{.x = x.cref(), .y = y.ref(), .index = index.ref(), .pool = pc.pool}, s);
      launch(kernels::MaxPool{.x = x.cref(), .y = plain.ref(), .pool = pc.pool}, s);
      launch(kernels::MaxPoolGrad{.index = index.ref(), .dy = dy.cref(), .dx = dx.ref(), .pool = pc.pool}, s);
      const std::vector<double> g = to_double(s, dy);
      std::vector<double> ey, ei, edx(size_t(pc.x.numel()), 0.0);
      for (const Winner& w : winners(pc, to_double(s, x))) {
        edx[size_t(w.input)] += g[ey.size()];
        ey.push_back(w.value);
        ei.push_back(double(w.index));
      }
      EXPECT_EQ(to_double(s, y.tensor()), ey);
      EXPECT_EQ(to_double(s, plain.tensor()), ey);
      EXPECT_EQ(to_double(s, index.tensor()), ei);
      expect_close(to_double(s, dx.tensor()), edx, bound(t));
      for (const Guarded* guarded : {&y, &plain, &index, &dx}) guarded->check();
    }
}

TEST_P(MaxPoolTest, NanWinsAndMinusInfinityIsANumber) {
  const Stream s(device());
  const float nan = std::numeric_limits<float>::quiet_NaN(), low = -std::numeric_limits<float>::infinity();
  for (const int padding : {0, 1}) {
    const std::vector<float> values{1, nan, 2, 3, low, low, low, low, nan, 5, 4, 3, 1, 2, 3, nan};
    const Tensor x = Tensor::from<float>(s, values, {4, 2, 2, 1});
    const kernels::Pool2d pool{2, 2, 2, padding};
    const Guarded y(s, pool.output("test", x.shape()));
    launch(kernels::MaxPool{.x = x.cref(), .y = y.ref(), .pool = pool}, s);
    const std::vector<double> got = to_double(s, y.tensor());
    if (padding == 0) {
      EXPECT_TRUE(std::isnan(got[0]) && std::isnan(got[2]) && std::isnan(got[3]));
      EXPECT_EQ(got[1], double(low));
    } else {  // windows of one element each
      EXPECT_EQ(got[0], 1.0);
      EXPECT_TRUE(std::isnan(got[1]));
      EXPECT_EQ(got[4], double(low));
    }
  }
}

TEST_P(MaxPoolTest, WrongShapesWindowsAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {1, 4, 4, 2}, 1), y = random(s, {1, 2, 2, 2}, 2), wrong = random(s, {1, 2, 3, 2}, 2);
  const Tensor half = random(s, {1, 2, 2, 2}, 2, -1, 1, DType::kBF16);
  const auto forward = [&](const Tensor& out, kernels::Pool2d pool) {
    launch(kernels::MaxPool{.x = x.cref(), .y = out.ref(), .pool = pool}, s);
  };
  EXPECT_NO_THROW(forward(y, {2, 2, 2, 0}));
  EXPECT_THROW(forward(wrong, {2, 2, 2, 0}), ShapeError);
  EXPECT_THROW(forward(half, {2, 2, 2, 0}), DTypeError);
  EXPECT_THROW(forward(y, {2, 2, 2, 2}), ShapeError);
  EXPECT_THROW(forward(y, {5, 5, 2, 0}), ShapeError);
  EXPECT_THROW(forward(y, {2, 2, 0, 0}), ShapeError);
  EXPECT_THROW(launch(kernels::MaxPoolGrad{.index = y.cref(), .dy = y.cref(), .dx = x.ref(), .pool = {}}, s),
               DTypeError);
}

TEST_P(MaxPoolTest, GradientsAgreeWithDifferencesAndOneByteAnOutputIsKept) {
  const Stream s(device());
  for (const Pool2dSpec spec : {Pool2dSpec{2, 2, 0}, Pool2dSpec{3, 2, 1}, Pool2dSpec{3, 1, 0}}) {
    check_gradients(s, Init(), {random(s, {2, 6, 6, 3}, 1)},
                    [spec](Ctx& c, const std::vector<Var>& in) { return max_pool(c, in[0], spec); }, {.step = 1e-3});
    Recorded pass(s);
    Ctx c = pass.ctx();
    const Var y = max_pool(c, pass.tape.leaf(random(s, {2, 6, 6, 3}, 1)), spec);
    EXPECT_EQ(pass.ledger.bytes(), y.value.numel());
    EXPECT_EQ(pass.ledger.bytes(SaveKind::kMask), y.value.numel());
  }
}

}  // namespace
}  // namespace sluice::test::max_pool_test
