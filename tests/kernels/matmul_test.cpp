// Matrix products against loops in double precision; packed weights, plans and gradients of the linear op.
#include "kernels/matmul.h"

#include <cmath>

#include "kernels/common/library_record.h"
#include "tests/support/support.h"

namespace sluice::test::matmul_test {
namespace {

using MatmulTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, MatmulTest, testing::ValuesIn(test_devices()), device_label);

struct Size {
  int64_t rows, in, out;
};
// 1, primes, one past a block, the label path of 10 classes, weights past the cache, no rows at all, more
// rows than columns can be read at once.
const std::vector<Size> kSizes{{1, 1, 1},     {3, 31, 7},      {7, 129, 65},  {17, 10, 70}, {64, 70, 10},
                               {33, 64, 257}, {5, 1031, 1100}, {128, 96, 64}, {0, 8, 5},    {1031, 19, 67}};
constexpr Act kActs[] = {Act::kNone, Act::kRelu, Act::kLeakyRelu, Act::kSigmoid, Act::kTanh, Act::kGelu};

std::string text(const Size& s) { return str(s.rows, " x ", s.in, " -> ", s.out); }

/// c[i, j] = sum over k of a(i, k) b(k, j).
template <class A, class B>
std::vector<double> product(int64_t rows, int64_t inner, int64_t cols, A a, B b) {
  std::vector<double> c(size_t(rows * cols));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t k = 0; k < inner; ++k) c[size_t(i * cols + j)] += a(i, k) * b(k, j);
  return c;
}

double activated(Act a, double x) {
  switch (a) {
    case Act::kNone:
      return x;
    case Act::kRelu:
      return std::max(x, 0.0);
    case Act::kLeakyRelu:
      return x > 0 ? x : 0.01 * x;
    case Act::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Act::kTanh:
      return std::tanh(x);
    case Act::kGelu:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

TEST_P(MatmulTest, ForwardMatchesTheDefinition) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device()))) {
    for (const Size& z : kSizes) {
      for (const Act act : kActs) {
        const bool large = z.rows * z.in * z.out > 500'000;  // there the epilogue is no other than in small ones
        if (large && act != Act::kNone && act != Act::kGelu) continue;
        SCOPED_TRACE(testing::Message() << text(z) << " " << name(t) << " act " << int(act));
        const Tensor x = random(s, {z.rows, z.in}, 1, -1, 1, t), b = random(s, {z.out}, 3);
        const float scale = 1 / std::sqrt(float(z.in));
        for (const DType wt : {t, DType::kF32}) {
          const Tensor w = random(s, {z.out, z.in}, 2, -scale, scale, wt);
          const Guarded y(s, {z.rows, z.out}, t);
          launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = b.cref(), .y = y.ref(), .act = act}, s);
          const auto xs = to_double(s, x), ws = to_double(s, w), bs = to_double(s, b);
          auto expected = product(
              z.rows, z.in, z.out, [&](int64_t i, int64_t k) { return xs[size_t(i * z.in + k)]; },
              [&](int64_t k, int64_t j) { return ws[size_t(j * z.in + k)]; });
          for (size_t i = 0; i < expected.size(); ++i) expected[i] = activated(act, expected[i] + bs[i % bs.size()]);
          expect_close(to_double(s, y.tensor()), expected, bound(t));
          y.check();
        }
      }
    }
  }
}

TEST_P(MatmulTest, GradientsMatchTheDefinition) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device()))) {
    for (const Size& z : kSizes) {
      SCOPED_TRACE(testing::Message() << text(z) << " " << name(t));
      const Tensor x = random(s, {z.rows, z.in}, 1, -1, 1, t), dz = random(s, {z.rows, z.out}, 2, -1, 1, t);
      const Tensor w = random(s, {z.out, z.in}, 3, -1, 1, t);
      const Guarded dx(s, {z.rows, z.in}, t), dw(s, {z.out, z.in}), db(s, {z.out});
      launch(kernels::MatmulGradInput{.dz = dz.cref(), .w = w.cref(), .dx = dx.ref()}, s);
      launch(kernels::MatmulGradWeight{.x = x.cref(), .dz = dz.cref(), .dw = dw.ref(), .db = db.ref()}, s);
      const auto xs = to_double(s, x), ds = to_double(s, dz), ws = to_double(s, w);
      const auto d = [&](int64_t i, int64_t j) { return ds[size_t(i * z.out + j)]; };
      expect_close(to_double(s, dx.tensor()),
                   product(z.rows, z.out, z.in, d, [&](int64_t k, int64_t j) { return ws[size_t(k * z.in + j)]; }),
                   bound(t));
      expect_close(to_double(s, dw.tensor()),
                   product(
                       z.out, z.rows, z.in, [&](int64_t i, int64_t k) { return d(k, i); },
                       [&](int64_t k, int64_t j) { return xs[size_t(k * z.in + j)]; }),
                   bound(DType::kF32) * (t == DType::kBF16 ? 10 : 1));
      expect_close(to_double(s, db.tensor()),
                   product(
                       1, z.rows, z.out, [](int64_t, int64_t) { return 1.0; }, d),
                   bound(DType::kF32));
      for (const Guarded* g : {&dx, &dw, &db}) g->check();
    }
  }
}

TEST_P(MatmulTest, ProductsAreAddedToWhatIsThere) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device())))
    for (const Size& z : kSizes)
      for (const bool reused : {false, true}) {
        SCOPED_TRACE(testing::Message() << text(z) << " " << name(t) << " reused " << reused);
        const Tensor x = random(s, {z.rows, z.in}, 1, -1, 1, t), w = random(s, {z.out, z.in}, 2),
                     dz = random(s, {z.rows, z.out}, 3, -1, 1, t);
        const Guarded y(s, {z.rows, z.out}, t), dx(s, {z.rows, z.in}, t);
        copy(s, random(s, {z.rows, z.out}, 4, -1, 1, t), y.tensor());
        copy(s, random(s, {z.rows, z.in}, 5, -1, 1, t), dx.tensor());
        const auto xs = to_double(s, x), ds = to_double(s, dz), ys = to_double(s, y.tensor()),
                   dxs = to_double(s, dx.tensor());
        auto ws = to_double(s, w);
        if (t == DType::kBF16)
          for (double& v : ws) v = double(float(bf16(float(v))));  // as it is packed
        auto sum = product(
            z.rows, z.in, z.out, [&](int64_t i, int64_t k) { return xs[size_t(i * z.in + k)]; },
            [&](int64_t k, int64_t j) { return ws[size_t(j * z.in + k)]; });
        auto grad = product(
            z.rows, z.out, z.in, [&](int64_t i, int64_t k) { return ds[size_t(i * z.out + k)]; },
            [&](int64_t k, int64_t j) { return ws[size_t(k * z.in + j)]; });
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += ys[i];
        for (size_t i = 0; i < grad.size(); ++i) grad[i] += dxs[i];
        launch(
            kernels::Matmul{
                .x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .accumulate = true, .w_reused = reused},
            s);
        launch(kernels::MatmulGradInput{.dz = dz.cref(), .w = w.cref(), .dx = dx.ref(), .accumulate = true}, s);
        expect_close(to_double(s, y.tensor()), sum, bound(t));
        expect_close(to_double(s, dx.tensor()), grad, bound(t));
        y.check();
        dx.check();
      }
}

TEST_P(MatmulTest, AReusedWeightGivesTheSameProduct) {
  const Stream s(device());
  const Tensor x = random(s, {7, 600}, 1), w = random(s, {500, 600}, 2);
  const Tensor once = Tensor::empty(s, {7, 500}), many = Tensor::empty(s, {7, 500});
  launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = once.ref()}, s);
  launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = many.ref(), .w_reused = true}, s);
  expect_close(to_double(s, many), to_double(s, once), 1e-6);
}

TEST_P(MatmulTest, AccumulatingRoundsLikeAddingFinishedGradients) {
  const Stream s(device());
  for (const Size& z : {Size{33, 129, 65}, Size{17, 10, 70}, Size{40, 65, 1}, Size{0, 8, 5}, Size{1031, 19, 67}}) {
    SCOPED_TRACE(text(z));
    const Tensor x = random(s, {z.rows, z.in}, 1), dz = random(s, {z.rows, z.out}, 2);
    const Tensor alone_w = Tensor::empty(s, {z.out, z.in}), alone_b = Tensor::empty(s, {z.out});
    launch(kernels::MatmulGradWeight{.x = x.cref(), .dz = dz.cref(), .dw = alone_w.ref(), .db = alone_b.ref()}, s);
    const Tensor sum_w = random(s, {z.out, z.in}, 5), sum_b = random(s, {z.out}, 6);
    auto expected_w = sum_w.to_vector<float>(s), expected_b = sum_b.to_vector<float>(s);
    launch(kernels::MatmulGradWeight{.x = x.cref(),
                                     .dz = dz.cref(),
                                     .dw = sum_w.ref(),
                                     .db = sum_b.ref(),
                                     .accumulate_w = true,
                                     .accumulate_b = true},
           s);
    const auto w = alone_w.to_vector<float>(s), b = alone_b.to_vector<float>(s);
    for (size_t i = 0; i < w.size(); ++i) expected_w[i] += w[i];
    for (size_t i = 0; i < b.size(); ++i) expected_b[i] += b[i];
    EXPECT_EQ(sum_w.to_vector<float>(s), expected_w);
    EXPECT_EQ(sum_b.to_vector<float>(s), expected_b);
  }
}

TEST_P(MatmulTest, WrongOperandsThrowBeforeAnythingIsQueued) {
  const Stream s(device());
  const Tensor x = random(s, {4, 3}, 1), w = random(s, {5, 3}, 2), b = random(s, {5}, 3), y = random(s, {4, 5}, 4);
  const Tensor half = random(s, {4, 3}, 1, -1, 1, DType::kBF16), ints = random_ints(s, {4, 3}, 1, 0, 2);
  using kernels::Matmul;
  const auto run = [&](const Matmul& m) { launch(m, s); };
  EXPECT_THROW(run({.x = y.cref(), .w = w.cref(), .bias = {}, .y = y.ref()}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = x.cref(), .y = y.ref()}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = b.cref(), .y = x.ref()}), ShapeError);
  EXPECT_THROW(run({.x = ints.cref(), .w = w.cref(), .bias = {}, .y = y.ref()}), DTypeError);
  EXPECT_THROW(run({.x = half.cref(), .w = w.cref(), .bias = {}, .y = y.ref()}), DTypeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = b.cref(), .y = y.ref(), .accumulate = true}), ConfigError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .act = Act::kTanh, .accumulate = true}),
               ConfigError);
  EXPECT_THROW(launch(kernels::MatmulGradInput{.dz = x.cref(), .w = w.cref(), .dx = y.ref()}, s), ShapeError);
  EXPECT_THROW(launch(kernels::MatmulGradWeight{.x = x.cref(), .dz = y.cref(), .dw = y.ref(), .db = {}}, s),
               ShapeError);
  s.sync();
}

// ---- packed weights and plans: the CPU only ----

LibraryRecord record(const Stream& s) {
  LibraryRecord r;
  s.enqueue([&r](CpuContext& c) { r = library_record(c); });
  s.sync();
  return r;
}

TEST(MatmulPacking, AWeightIsPackedOncePerVersion) {
  const Stream s(Device{});
  const Tensor x = random(s, {8, 64}, 1), y = Tensor::empty(s, {8, 48});
  Tensor w = random(s, {48, 64}, 2);
  const Tensor twin = random(s, {48, 64}, 3);
  const auto run = [&](const Tensor& weight, uint64_t version) {
    launch(kernels::Matmul{.x = x.cref(), .w = weight.cref(), .bias = {}, .y = y.ref(), .w_version = version}, s);
    return to_double(s, y);
  };
  const auto first = run(w, 7);
  const int64_t packs = record(s).packs;
  if (packs == 0) GTEST_SKIP() << "this CPU's implementation reads plain weights";
  EXPECT_EQ(run(w, 7), first);
  EXPECT_NE(run(twin, 7), first);  // the same version of another parameter
  EXPECT_EQ(record(s).packs, packs + 1);
  EXPECT_EQ(run(w, 7), first);
  EXPECT_EQ(record(s).packs, packs + 1);

  w.assign<float>(s, random_values(48 * 64, 4));
  EXPECT_EQ(run(w, 7), first);  // the promise was broken, so the old copy is read
  const auto changed = run(w, 8);
  EXPECT_NE(changed, first);
  EXPECT_EQ(record(s).packs, packs + 2);
  EXPECT_EQ(run(w, 0), changed);  // unknown version: packed at every run
  EXPECT_EQ(run(w, 0), changed);
  EXPECT_EQ(record(s).packs, packs + 4);
}

TEST(MatmulPacking, ManyWeightsShareAPlanWithoutGrowingIt) {
  const Stream s(Device{});
  const Tensor x = random(s, {8, 64}, 1), y = Tensor::empty(s, {8, 48});
  std::vector<Tensor> weights;
  std::vector<std::vector<double>> expected;
  for (uint64_t i = 0; i < 7; ++i) weights.push_back(random(s, {48, 64}, 10 + i));
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < weights.size(); ++i) {
      launch(kernels::Matmul{.x = x.cref(), .w = weights[i].cref(), .bias = {}, .y = y.ref(), .w_version = 3}, s);
      if (round == 0) expected.push_back(to_double(s, y));
      EXPECT_EQ(to_double(s, y), expected[i]);
    }
}

TEST(MatmulPacking, NoPlanIsMadeAfterTheFirstStepAndNoneIsAReference) {
  const Stream s(Device{});
  const Tensor x = random(s, {128, 96}, 1), w = random(s, {64, 96}, 2), y = Tensor::empty(s, {128, 64});
  const Tensor dx = Tensor::empty(s, {128, 96}), dw = Tensor::empty(s, {64, 96}), db = Tensor::empty(s, {64});
  int64_t plans = 0;
  for (uint64_t step = 1; step <= 4; ++step) {
    launch(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .w_version = step}, s);
    launch(kernels::MatmulGradInput{.dz = y.cref(), .w = w.cref(), .dx = dx.ref(), .w_version = step}, s);
    launch(kernels::MatmulGradWeight{.x = x.cref(),
                                     .dz = y.cref(),
                                     .dw = dw.ref(),
                                     .db = db.ref(),
                                     .accumulate_w = step > 1,
                                     .accumulate_b = step > 1},
           s);
    s.sync();
    if (step == 1) plans = s.plans_created();
    EXPECT_EQ(s.plans_created(), plans);
  }
  const LibraryRecord r = record(s);
  EXPECT_GE(r.implementations.size(), 3u);
  for (const std::string& i : r.implementations) EXPECT_THAT(i, testing::Not(testing::HasSubstr("ref")));
}

TEST_P(MatmulTest, LinearOpHasTheGradientsOfItsFormula) {
  const Stream s(device());
  for (const Act act : kActs) {
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << "act " << int(act) << " bias " << bias);
      Init init;
      Linear l{init.param("weight", {5, 7}, InitialValue::uniform(0.4f)), {}, act};
      if (bias) l.bias = init.param("bias", {5}, InitialValue::uniform(0.4f));
      check_gradients(s, init, {random(s, {6, 7}, 1)},
                      [&](Ctx& c, const std::vector<Var>& in) { return matmul(c, in[0], l); });
    }
  }
}

TEST_P(MatmulTest, LeadingDimensionsAreRows) {
  const Stream s(device());
  Init init;
  const Linear l{init.param("weight", {5, 7}, InitialValue::uniform(0.4f)),
                 init.param("bias", {5}, InitialValue::uniform(0.4f)), Act::kGelu};
  const auto f = [&](Ctx& c, const std::vector<Var>& in) { return matmul(c, in[0], l); };
  check_gradients(s, init, {random(s, {2, 3, 7}, 1)}, f);
  Arena arena(s, init, 11);
  Ledger ledger;
  Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  const Tensor x = random(s, {2, 3, 7}, 1);
  const Tensor deep = f(c, {{x}}).value, flat = f(c, {{x.reshape({6, 7})}}).value;
  EXPECT_EQ(deep.shape(), (Shape{2, 3, 5}));
  EXPECT_EQ(to_double(s, deep), to_double(s, flat));
  EXPECT_EQ(f(c, {{Tensor::empty(s, {2, 0, 7})}}).shape(), (Shape{2, 0, 5}));
  EXPECT_THROW(f(c, {{random(s, {7}, 1)}}), ShapeError);
}

}  // namespace
}  // namespace sluice::test::matmul_test
