// Sums of dy under each tap and the biases of pixels next to the padding, against loops over the definition.
#include "kernels/conv_taps.h"

#include "tests/support/support.h"

namespace sluice::test::conv_taps_test {
namespace {

using ConvTapsTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ConvTapsTest, testing::ValuesIn(test_devices()), device_label);

struct Case {
  int64_t images, height, width, filters;
  int window, stride;
  ByAxis padding;
};
const std::vector<Case> kCases{{2, 5, 6, 3, 3, 1, 1},     {3, 8, 7, 5, 3, 2, 1}, {1, 1, 1, 1, 3, 1, 1},
                               {2, 4, 4, 33, 1, 1, 0},    {2, 9, 9, 4, 7, 2, 3}, {65, 2, 3, 300, 3, 1, 1},
                               {0, 4, 4, 2, 3, 1, 1},     {1, 7, 5, 2, 5, 3, 2}, {2, 6, 7, 3, 3, 1, {0, 1}},
                               {2, 7, 8, 4, 5, 2, {2, 1}}};

struct Problem {
  explicit Problem(const Case& c)
      : g{.stride = c.stride, .padding = c.padding},
        image{c.height, c.width},
        y{c.images, g.rows(c.height, c.window), g.columns(c.width, c.window), c.filters},
        taps{c.filters, c.window, c.window} {}
  bool inside(int64_t p, int64_t q, int64_t r, int64_t s) const {
    const int64_t h = p * g.stride - g.padding.rows + r, w = q * g.stride - g.padding.columns + s;
    return h >= 0 && h < image.height && w >= 0 && w < image.width;
  }
  kernels::Conv2dGeometry g;
  kernels::ImageSize image;
  Shape y, taps;
};

std::string text(const Case& c) {
  return str(c.images, "x", c.height, "x", c.width, "x", c.filters, " window ", c.window, " stride ", c.stride,
             " padding ", sluice::text(c.padding));
}

TEST_P(ConvTapsTest, SumsAreOverThePixelsWhoseTapIsInside) {
  const Stream s(device());
  for (const Case& c : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(text(c));
      const Problem p(c);
      const Tensor dy = random(s, p.y, 1, -1, 1, t);
      const Guarded sums(s, p.taps), db(s, {c.filters});
      launch(kernels::TapSums{.dy = dy.cref(), .sums = sums.ref(), .db = db.ref(), .image = p.image, .geometry = p.g},
             s);
      const std::vector<double> d = to_double(s, dy);
      std::vector<double> expected(size_t(p.taps.numel())), all(static_cast<size_t>(c.filters));
      for (size_t i = 0; i < d.size(); ++i) {
        const int64_t k = int64_t(i) % p.y[3], q = int64_t(i) / p.y[3] % p.y[2],
                      row = int64_t(i) / p.y[3] / p.y[2] % p.y[1];
        all[size_t(k)] += d[i];
        for (int64_t tap = 0; tap < c.window * c.window; ++tap)
          if (p.inside(row, q, tap / c.window, tap % c.window)) expected[size_t(k * c.window * c.window + tap)] += d[i];
      }
      expect_close(to_double(s, sums.tensor()), expected, bound(DType::kF32));
      expect_close(to_double(s, db.tensor()), all, bound(DType::kF32));
      launch(kernels::TapSums{.dy = dy.cref(),
                              .sums = sums.ref(),
                              .db = db.ref(),
                              .image = p.image,
                              .geometry = p.g,
                              .accumulate_b = true},
             s);
      launch(kernels::TapSums{.dy = dy.cref(), .sums = sums.ref(), .image = p.image, .geometry = p.g}, s);
      for (double& v : all) v *= 2;
      expect_close(to_double(s, db.tensor()), all, bound(DType::kF32));
      expect_close(to_double(s, sums.tensor()), expected, bound(DType::kF32));
      sums.check();
      db.check();
    }
}

TEST_P(ConvTapsTest, BorderLosesTheTapsOutside) {
  const Stream s(device());
  for (const Case& c : kCases)
    for (const DType t : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(text(c));
      const Problem p(c);
      const Tensor taps = random(s, p.taps, 1), before = random(s, p.y, 2, -1, 1, t);
      const Guarded y(s, p.y, t);
      copy(s, before, y.tensor());
      launch(kernels::TapBorder{.taps = taps.cref(), .y = y.ref(), .image = p.image, .geometry = p.g}, s);
      const std::vector<double> w = to_double(s, taps);
      std::vector<double> expected = to_double(s, before);
      for (size_t i = 0; i < expected.size(); ++i) {
        const int64_t k = int64_t(i) % p.y[3], q = int64_t(i) / p.y[3] % p.y[2],
                      row = int64_t(i) / p.y[3] / p.y[2] % p.y[1];
        for (int64_t tap = 0; tap < c.window * c.window; ++tap)
          if (!p.inside(row, q, tap / c.window, tap % c.window))
            expected[i] -= w[size_t(k * c.window * c.window + tap)];
      }
      expect_close(to_double(s, y.tensor()), expected, bound(t));
      y.check();
    }
}

TEST_P(ConvTapsTest, TotalsAddABiasWhereThereIsOne) {
  const Stream s(device());
  const Tensor taps = random(s, {300, 3, 3}, 1), bias = random(s, {300}, 2);
  const Guarded y(s, {300});
  const std::vector<double> w = to_double(s, taps), b = to_double(s, bias);
  for (const bool with : {false, true}) {
    launch(kernels::TapTotals{.taps = taps.cref(), .bias = with ? bias.cref() : ConstRef{}, .y = y.ref()}, s);
    std::vector<double> expected(300);
    for (size_t i = 0; i < w.size(); ++i) expected[i / 9] += w[i];
    for (size_t k = 0; with && k < 300; ++k) expected[k] += b[k];
    expect_close(to_double(s, y.tensor()), expected, bound(DType::kF32));
  }
  y.check();
}

TEST_P(ConvTapsTest, WrongShapesAreRefused) {
  const Stream s(device());
  const Tensor y = random(s, {2, 4, 4, 3}, 1), taps = random(s, {3, 3, 3}, 2);
  const auto border = [&](kernels::ImageSize in, kernels::Conv2dGeometry g) {
    launch(kernels::TapBorder{.taps = taps.cref(), .y = y.ref(), .image = in, .geometry = g}, s);
  };
  EXPECT_NO_THROW(border({4, 4}, {.padding = 1}));
  EXPECT_THROW(border({4, 5}, {.padding = 1}), ShapeError);
  EXPECT_THROW(border({4, 4}, {.padding = 1, .groups = 3}), ShapeError);
  const Tensor wide = random(s, {1, 40, 40, 1}, 1), window = random(s, {1, 39, 39}, 2);
  EXPECT_THROW(
      launch(kernels::TapSums{.dy = wide.cref(), .sums = window.ref(), .image = {40, 40}, .geometry = {.padding = 19}},
             s),
      ShapeError);
  EXPECT_THROW(launch(kernels::TapTotals{.taps = taps.cref(), .y = taps.ref()}, s), ShapeError);
}

}  // namespace
}  // namespace sluice::test::conv_taps_test
