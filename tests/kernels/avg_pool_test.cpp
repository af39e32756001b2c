// Average pooling and its gradient against the definition, in double.
#include "kernels/avg_pool.h"

#include "tests/kernels/recorded.h"

namespace sluice::test::avg_pool_test {
namespace {

using AvgPoolTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AvgPoolTest, testing::ValuesIn(test_devices()), device_label);

struct PoolCase {
  Shape x;
  kernels::Pool2d pool;
};
const std::vector<PoolCase> kCases{
    {{2, 4, 6, 16}, {2, 2, 2, 0}}, {{1, 2, 2, 1}, {2, 2, 2, 0}}, {{2, 5, 7, 3}, {2, 2, 2, 0}},
    {{2, 7, 5, 65}, {3, 3, 2, 1}}, {{1, 9, 9, 7}, {3, 2, 1, 1}}, {{3, 8, 6, 129}, {8, 6, 8, 0}},
    {{2, 6, 6, 5}, {1, 1, 1, 0}},  {{1, 5, 5, 2}, {2, 2, 3, 0}}, {{0, 4, 4, 8}, {2, 2, 2, 0}},
};

/// f(output element, input element) for every pixel of every window.
template <class F>
void for_each_pair(const PoolCase& pc, F&& f) {
  const Shape out = pc.pool.output("test", pc.x);
  int64_t y = 0;
  for (int64_t n = 0; n < out[0]; ++n)
    for (int64_t p = 0; p < out[1]; ++p)
      for (int64_t q = 0; q < out[2]; ++q)
        for (int64_t c = 0; c < out[3]; ++c, ++y)
          for (int64_t i = 0; i < pc.pool.window_h; ++i)
            for (int64_t j = 0; j < pc.pool.window_w; ++j) {
              const int64_t h = p * pc.pool.stride - pc.pool.padding + i, w = q * pc.pool.stride - pc.pool.padding + j;
              if (h < 0 || h >= pc.x[1] || w < 0 || w >= pc.x[2]) continue;
              f(size_t(y), size_t(((n * pc.x[1] + h) * pc.x[2] + w) * pc.x[3] + c));
            }
}

TEST_P(AvgPoolTest, ForwardAndBackwardMatchTheDefinition) {
  const Stream s(device());
  for (const PoolCase& pc : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      const Shape out = pc.pool.output("test", pc.x);
      SCOPED_TRACE(testing::Message() << pc.x.text() << " " << name(t) << " to " << out.text());
      const Tensor x = random(s, pc.x, 1, -1, 1, t), dy = random(s, out, 2, -1, 1, t);
      const Guarded y(s, out, t), dx(s, pc.x, t);
      launch(kernels::AvgPool{.x = x.cref(), .y = y.ref(), .pool = pc.pool}, s);
      launch(kernels::AvgPoolGrad{.dy = dy.cref(), .dx = dx.ref(), .pool = pc.pool}, s);
      const std::vector<double> v = to_double(s, x), g = to_double(s, dy);
      std::vector<double> ey(g.size(), 0.0), edx(v.size(), 0.0);
      for_each_pair(pc, [&, area = double(pc.pool.window_h * pc.pool.window_w)](size_t o, size_t i) {
        ey[o] += v[i] / area;
        edx[i] += g[o] / area;
      });
      expect_close(to_double(s, y.tensor()), ey, bound(t));
      expect_close(to_double(s, dx.tensor()), edx, bound(t));
      y.check();
      dx.check();
    }
}

TEST_P(AvgPoolTest, WrongShapesAndDtypesAreRefused) {
  const Stream s(device());
  const Tensor x = random(s, {1, 4, 4, 2}, 1), y = random(s, {1, 2, 3, 2}, 2),
               labels = random_ints(s, {1, 2, 2, 2}, 2, 0, 9);
  EXPECT_THROW(launch(kernels::AvgPool{.x = x.cref(), .y = y.ref(), .pool = {}}, s), ShapeError);
  EXPECT_THROW(launch(kernels::AvgPool{.x = x.cref(), .y = labels.ref(), .pool = {}}, s), DTypeError);
  EXPECT_THROW(launch(kernels::AvgPoolGrad{.dy = y.cref(), .dx = x.ref(), .pool = {}}, s), ShapeError);
}

TEST_P(AvgPoolTest, GradientsAgreeWithDifferencesAndNothingIsKept) {
  const Stream s(device());
  for (const Pool2dSpec spec : {Pool2dSpec{2, 2, 0}, Pool2dSpec{3, 2, 1}, Pool2dSpec{6, 6, 0}}) {
    check_gradients(s, Init(), {random(s, {2, 6, 6, 3}, 1)},
                    [spec](Ctx& c, const std::vector<Var>& in) { return avg_pool(c, in[0], spec); });
    Recorded pass(s);
    Ctx c = pass.ctx();
    avg_pool(c, pass.tape.leaf(random(s, {2, 6, 6, 3}, 1)), spec);
    EXPECT_EQ(pass.ledger.bytes(), 0);
  }
}

}  // namespace
}  // namespace sluice::test::avg_pool_test
