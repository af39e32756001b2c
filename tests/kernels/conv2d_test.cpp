// Convolutions against seven nested loops in double precision; packed filters, plans and gradients of the op.
#include "kernels/conv2d.h"

#include "kernels/common/library_record.h"
#include "tests/support/support.h"

namespace sluice::test::conv2d_test {
namespace {

using Conv2dTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, Conv2dTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t n, h, w, c, k, r, s;
  kernels::Conv2dGeometry g;

  Shape x() const { return {n, h, w, c}; }
  Shape filters() const { return {k, r, s, c / g.groups}; }
  Shape y() const { return {n, g.rows(h, r), g.columns(w, s), k}; }
  std::string text() const {
    return str("x ", x().text(), " w ", filters().text(), " stride ", g.stride, " padding ", sluice::text(g.padding),
               " groups ", g.groups);
  }
};
// One pixel, primes, an image and a colour image, stride, 1 x 1, uneven windows and images, groups, depthwise, wide
// and narrow channels on both sides of the rules that choose a layout, no images at all.
const std::vector<Case> kCases{{1, 1, 1, 1, 1, 1, 1, {}},
                               {2, 7, 5, 3, 5, 3, 3, {1, 1, 1}},
                               {3, 9, 9, 1, 16, 3, 3, {1, 1, 1}},
                               {2, 8, 8, 3, 80, 3, 3, {1, 1, 1}},
                               {2, 11, 7, 6, 10, 3, 2, {2, 1, 1}},
                               {2, 8, 8, 17, 33, 1, 1, {2, 0, 1}},
                               {1, 12, 12, 4, 8, 5, 5, {3, 2, 1}},
                               {2, 6, 6, 8, 12, 3, 3, {1, 1, 4}},
                               {2, 7, 7, 16, 16, 3, 3, {2, 1, 16}},
                               {2, 8, 8, 64, 64, 3, 3, {1, 1, 1}},
                               {1, 4, 4, 256, 256, 3, 3, {1, 1, 1}},
                               {1, 3, 3, 5, 4, 3, 3, {1, 0, 1}},
                               {0, 4, 4, 3, 5, 3, 3, {1, 1, 1}},
                               {2, 9, 8, 12, 20, 1, 7, {1, {0, 3}, 1}},
                               {1, 17, 17, 80, 64, 7, 1, {1, {3, 0}, 1}},
                               {2, 5, 7, 3, 4, 5, 3, {2, {1, 2}, 1}}};

/// Calls f(index in x, index in w, index in y) for every product of the definition.
template <class F>
void each_product(const Case& z, F&& f) {
  const Shape y = z.y();
  const int64_t c = z.c / z.g.groups, k = z.k / z.g.groups;
  for (int64_t n = 0; n < z.n; ++n)
    for (int64_t p = 0; p < y[1]; ++p)
      for (int64_t q = 0; q < y[2]; ++q)
        for (int64_t o = 0; o < z.k; ++o)
          for (int64_t r = 0; r < z.r; ++r)
            for (int64_t s = 0; s < z.s; ++s) {
              const int64_t h = p * z.g.stride + r - z.g.padding.rows, w = q * z.g.stride + s - z.g.padding.columns;
              if (h < 0 || h >= z.h || w < 0 || w >= z.w) continue;
              for (int64_t i = 0; i < c; ++i)
                f(size_t(((n * z.h + h) * z.w + w) * z.c + o / k * c + i), size_t(((o * z.r + r) * z.s + s) * c + i),
                  size_t(((n * y[1] + p) * y[2] + q) * z.k + o));
            }
}

TEST_P(Conv2dTest, ForwardMatchesTheDefinition) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device()))) {
    for (const Case& z : kCases) {
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(testing::Message() << z.text() << " " << name(t) << " bias " << biased);
        const Tensor x = random(s, z.x(), 1, -1, 1, t), w = random(s, z.filters(), 2, -1, 1, t);
        const Tensor b = random(s, {z.k}, 3);
        const Guarded y(s, z.y(), t);
        launch(
            kernels::Conv2d{
                .x = x.cref(), .w = w.cref(), .bias = biased ? b.cref() : ConstRef{}, .y = y.ref(), .geometry = z.g},
            s);
        const auto xs = to_double(s, x), ws = to_double(s, w), bs = to_double(s, b);
        std::vector<double> expected(size_t(z.y().numel()));
        if (biased)
          for (size_t i = 0; i < expected.size(); ++i) expected[i] = bs[i % bs.size()];
        each_product(z, [&](size_t i, size_t j, size_t o) { expected[o] += xs[i] * ws[j]; });
        expect_close(to_double(s, y.tensor()), expected, bound(t));
        y.check();
      }
    }
  }
}

TEST_P(Conv2dTest, GradientsMatchTheDefinition) {
  const Stream s(device());
  for (const DType t : product_dtypes(Stream(device()))) {
    for (const Case& z : kCases) {
      SCOPED_TRACE(testing::Message() << z.text() << " " << name(t));
      const Tensor x = random(s, z.x(), 1, -1, 1, t), dy = random(s, z.y(), 2, -1, 1, t);
      const Tensor w = random(s, z.filters(), 3, -1, 1, t);
      const Guarded dx(s, z.x(), t), dw(s, z.filters()), db(s, {z.k});
      launch(kernels::Conv2dGradInput{.dy = dy.cref(), .w = w.cref(), .dx = dx.ref(), .geometry = z.g}, s);
      launch(kernels::Conv2dGradWeight{.x = x.cref(), .dy = dy.cref(), .dw = dw.ref(), .db = db.ref(), .geometry = z.g},
             s);
      const auto xs = to_double(s, x), ds = to_double(s, dy), ws = to_double(s, w);
      std::vector<double> ex(xs.size()), ew(ws.size()), eb(size_t(z.k));
      each_product(z, [&](size_t i, size_t j, size_t o) {
        ex[i] += ds[o] * ws[j];
        ew[j] += ds[o] * xs[i];
      });
      for (size_t i = 0; i < ds.size(); ++i) eb[i % eb.size()] += ds[i];
      const double master = bound(DType::kF32) * (t == DType::kBF16 ? 10 : 1);
      expect_close(to_double(s, dx.tensor()), ex, bound(t));
      expect_close(to_double(s, dw.tensor()), ew, device().is_cpu() ? master : bound(t));  // cuDNN's dw is as x
      expect_close(to_double(s, db.tensor()), eb, master);
      for (const Guarded* g : {&dx, &dw, &db}) g->check();
    }
  }
}

TEST_P(Conv2dTest, AccumulatingRoundsLikeAddingFinishedGradients) {
  const Stream s(device());
  for (const Case& z : kCases) {
    SCOPED_TRACE(z.text());
    const Tensor x = random(s, z.x(), 1), dy = random(s, z.y(), 2);
    const Tensor alone_w = Tensor::empty(s, z.filters()), alone_b = Tensor::empty(s, {z.k});
    const Tensor sum_w = random(s, z.filters(), 5), sum_b = random(s, {z.k}, 6);
    auto expected_w = sum_w.to_vector<float>(s), expected_b = sum_b.to_vector<float>(s);
    kernels::Conv2dGradWeight call{
        .x = x.cref(), .dy = dy.cref(), .dw = alone_w.ref(), .db = alone_b.ref(), .geometry = z.g};
    launch(call, s);
    call.dw = sum_w.ref();
    call.db = sum_b.ref();
    call.accumulate_w = call.accumulate_b = true;
    launch(call, s);
    const auto w = alone_w.to_vector<float>(s), b = alone_b.to_vector<float>(s);
    for (size_t i = 0; i < w.size(); ++i) expected_w[i] += w[i];
    for (size_t i = 0; i < b.size(); ++i) expected_b[i] += b[i];
    EXPECT_EQ(sum_w.to_vector<float>(s), expected_w);
    EXPECT_EQ(sum_b.to_vector<float>(s), expected_b);
  }
}

TEST_P(Conv2dTest, WrongOperandsThrowBeforeAnythingIsQueued) {
  const Stream s(device());
  const Tensor x = random(s, {2, 8, 8, 4}, 1), w = random(s, {6, 3, 3, 4}, 2), y = random(s, {2, 8, 8, 6}, 3);
  const Tensor b = random(s, {6}, 4), half = random(s, {2, 8, 8, 4}, 1, -1, 1, DType::kBF16);
  using kernels::Conv2d;
  const auto run = [&](const Conv2d& k) { launch(k, s); };
  const kernels::Conv2dGeometry same{1, 1, 1};
  run({.x = x.cref(), .w = w.cref(), .bias = b.cref(), .y = y.ref(), .geometry = same});
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = {1, 0, 1}}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = {1, 1, 2}}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = {1, 1, 3}}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = {0, 1, 1}}), ShapeError);
  EXPECT_THROW(run({.x = x.cref(), .w = w.cref(), .bias = w.cref(), .y = y.ref(), .geometry = same}), ShapeError);
  EXPECT_THROW(run({.x = y.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = same}), ShapeError);
  EXPECT_THROW(run({.x = half.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = same}), DTypeError);
  EXPECT_THROW(launch(kernels::Conv2dGradInput{.dy = x.cref(), .w = w.cref(), .dx = x.ref(), .geometry = same}, s),
               ShapeError);
  EXPECT_THROW(
      launch(kernels::Conv2dGradWeight{.x = x.cref(), .dy = y.cref(), .dw = w.ref(), .db = x.ref(), .geometry = same},
             s),
      ShapeError);
  s.sync();
}

TEST_P(Conv2dTest, OpHasTheGradientsOfItsFormula) {
  const Stream s(device());
  for (const Conv2dSpec spec : {Conv2dSpec{1, 1, 1}, Conv2dSpec{2, 0, 1}, Conv2dSpec{1, 1, 2}}) {
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << spec.stride << sluice::text(spec.padding) << spec.groups << " bias " << bias);
      Init init;
      Conv2dParams p{init.param("weight", {6, 3, 3, 4 / spec.groups}, InitialValue::uniform(0.3f)), {}, spec};
      if (bias) p.bias = init.param("bias", {6}, InitialValue::uniform(0.3f));
      check_gradients(s, init, {random(s, {2, 5, 6, 4}, 1)},
                      [&](Ctx& c, const std::vector<Var>& in) { return conv2d(c, in[0], p); });
    }
  }
}

// ---- packed filters and plans: the CPU only ----

LibraryRecord record(const Stream& s) {
  LibraryRecord r;
  s.enqueue([&r](CpuContext& c) { r = library_record(c); });
  s.sync();
  return r;
}

/// All three directions of `z` on new tensors, `steps` times, each step with weights of a new version.
void train(const Stream& s, const Case& z, uint64_t steps) {
  const Tensor x = random(s, z.x(), 1), w = random(s, z.filters(), 2), y = Tensor::empty(s, z.y());
  const Tensor dx = Tensor::empty(s, z.x()), dw = Tensor::empty(s, z.filters());
  for (uint64_t v = 1; v <= steps; ++v) {
    launch(kernels::Conv2d{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = z.g, .w_version = v}, s);
    launch(kernels::Conv2dGradInput{.dy = y.cref(), .w = w.cref(), .dx = dx.ref(), .geometry = z.g, .w_version = v}, s);
    launch(
        kernels::Conv2dGradWeight{
            .x = x.cref(), .dy = y.cref(), .dw = dw.ref(), .db = {}, .geometry = z.g, .accumulate_w = v > 1},
        s);
  }
  s.sync();
}

TEST(Conv2dPacking, FiltersArePackedOncePerVersion) {
  const Stream s(Device{});
  const Case z{2, 8, 8, 32, 32, 3, 3, {1, 1, 1}};
  const Tensor x = random(s, z.x(), 1), y = Tensor::empty(s, z.y());
  Tensor w = random(s, z.filters(), 2);
  const auto run = [&](uint64_t version) {
    launch(
        kernels::Conv2d{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .geometry = z.g, .w_version = version},
        s);
    return to_double(s, y);
  };
  const auto first = run(5);
  EXPECT_EQ(record(s).packs, 1);
  EXPECT_EQ(run(5), first);
  EXPECT_EQ(record(s).packs, 1);
  w.assign<float>(s, random_values(z.filters().numel(), 9));
  EXPECT_EQ(run(5), first);  // the promise was broken, so the old copy is read
  const auto changed = run(6);
  EXPECT_NE(changed, first);
  EXPECT_EQ(record(s).packs, 2);
  EXPECT_EQ(run(0), changed);  // unknown version: packed at every run
  EXPECT_EQ(run(0), changed);
  EXPECT_EQ(record(s).packs, 4);
}

TEST(Conv2dPacking, NoPlanIsMadeAfterTheFirstStepAndNoneIsAReference) {
  const Stream s(Device{});
  std::vector<Case> cases(kCases.begin() + 1, kCases.end());
  for (const int64_t width : {1, 8}) {  // the layers of a VGG, then of a ResNet
    for (const auto& [size, c, k] : std::vector<std::array<int64_t, 3>>{
             {32, 1, 16}, {32, 3, 16}, {32, 16, 32}, {16, 32, 32}, {16, 32, 64}, {8, 64, 64}, {4, 64, 64}})
      cases.push_back({1, size, size, c < 16 ? c : c * width, k * width, 3, 3, {1, 1, 1}});
    cases.push_back({1, 32, 32, 3, 8 * width, 3, 3, {1, 1, 1}});
    for (const auto& [size, c] : std::vector<std::array<int64_t, 2>>{{32, 8}, {16, 16}, {8, 32}, {4, 64}}) {
      cases.push_back({1, size, size, c * width, c * width, 3, 3, {1, 1, 1}});
      if (c < 64) cases.push_back({1, size, size, c * width, 2 * c * width, 3, 3, {2, 1, 1}});
    }
  }
  for (const Case& z : cases) train(s, z, 1);
  const int64_t plans = s.plans_created();
  for (const Case& z : cases) train(s, z, 2);
  EXPECT_EQ(s.plans_created(), plans);
  const LibraryRecord r = record(s);
  EXPECT_GE(r.implementations.size(), 3 * (cases.size() - 1));
  for (const std::string& i : r.implementations) EXPECT_THAT(i, testing::Not(testing::HasSubstr("ref")));
#if defined(__x86_64__)  // the rule for image channels beats the library's first choice
  EXPECT_THAT(r.implementations, testing::Contains(testing::MatchesRegex("conv2d_grad_weight: .*gemm.*")));
#endif
}

TEST(Conv2dPacking, TeamSizesAgree) {
  const Case z{4, 8, 8, 16, 16, 3, 3, {1, 1, 1}};
  const Stream one(Device{}), two(Device{}, CpuShare{.team = 2, .cores = {}});
  const Tensor x = random(one, z.x(), 1), dy = random(one, z.y(), 2);
  std::vector<std::vector<double>> dw;
  for (const Stream* s : {&one, &two}) {
    s->wait(one.record());
    const Tensor g = Tensor::empty(*s, z.filters());
    launch(kernels::Conv2dGradWeight{.x = x.cref(), .dy = dy.cref(), .dw = g.ref(), .db = {}, .geometry = z.g}, *s);
    dw.push_back(to_double(*s, g));
  }
  expect_close(dw[1], dw[0], bound(DType::kF32));
}

}  // namespace
}  // namespace sluice::test::conv2d_test
