// Forecasts over whole arenas: the formula in double over sizes, segments and groups, and updates that write new
// weights and forecasts elsewhere, bit for bit an update in place and a pass of its own.
#include "kernels/forecast.h"

#include "kernels/adam.h"
#include "kernels/rmsprop.h"
#include "kernels/sgd.h"
#include "tests/kernels/update_case.h"

namespace sluice::forecast_test {
namespace {

using test::Guarded;
using enum Direction;
using ForecastTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, ForecastTest, testing::ValuesIn(test::test_devices()), test::device_label);

constexpr float kUntouched = 0.625f;
Guarded untouched(const Stream& s, int64_t n) {
  Guarded g(s, {n});
  Tensor t = g.tensor();
  t.assign<float>(s, std::vector<float>(size_t(n), kUntouched));
  return g;
}

/// Two forecasts; those of the last group do not move.
StepScalars scalars() {
  StepScalars s = test::awkward_scalars();
  s.bias1 = 0.19f;
  s.root_bias2 = 0.05f;
  for (int g = 0; g < kMaxGroups; ++g)
    for (int k = 0; k < kMaxForecasts; ++k) {
      s.forecasts[k].keep[g] = 1.0f - 0.03f * float(g * (k + 1));
      s.forecasts[k].reach[g] = g == kMaxGroups - 1 ? 0.0f : 0.02f * float(g + 1) * float(k + 1);
    }
  return s;
}
/// Forecast k in the first place, where Forecast reads it.
StepScalars scalars_of(int k, bool corrected) {
  StepScalars s = scalars();
  if (!corrected) s.bias1 = s.root_bias2 = 1.0f;
  s.forecasts[0] = s.forecasts[k];
  return s;
}
DirectionRule rule(Direction kind) { return {.kind = kind, .momentum = 0.9f, .rest = 0.7f, .eps = 1e-3f}; }

double reference(const DirectionRule& r, const StepScalars& s, int64_t group, double w, double m, double v) {
  const double keep = double(s.forecasts[0].keep[group]), reach = double(s.forecasts[0].reach[group]);
  switch (r.kind) {
    case kNone:
      return w;
    case kMomentum:
      return reach == 0 ? w : keep * w - reach * m;
    case kNextMomentum:
      return reach == 0 ? w : keep * w - reach * (double(r.momentum) * m + double(r.rest) * v);
    case kAdaptive:
      return reach == 0
                 ? w
                 : keep * w - reach * (m / double(s.bias1)) / (std::sqrt(v) / double(s.root_bias2) + double(r.eps));
  }
  return 0;
}

template <class Check>
void over_sizes(Check check) {
  for (const int64_t n : test::kUpdateSizes)
    for (const int64_t segments : {int64_t(1), int64_t(7), int64_t(1000)}) {
      if (segments > std::max<int64_t>(n, 1)) continue;
      SCOPED_TRACE(testing::Message() << n << " elements, " << segments << " segments");
      check(n, test::awkward_segments(n, segments));
    }
}

TEST_P(ForecastTest, FollowsItsFormulaInsideTheSegments) {
  const Stream s(device());
  const StepScalars values = scalars();
  const Tensor slot = test::scalar_slot(s, values);
  over_sizes([&](int64_t n, const std::vector<SegmentRow>& rows) {
    const Tensor table = test::segment_table(s, rows);
    const Tensor w = test::random(s, {n}, 1), m = test::random(s, {n}, 2), v = test::random(s, {n}, 3, 0, 1);
    for (const Direction kind : {kNone, kMomentum, kNextMomentum, kAdaptive}) {
      const Guarded to = untouched(s, n);
      const DirectionRule r = rule(kind);
      std::vector<double> expected = test::to_double(s, to.tensor());
      launch(kernels::Forecast{.w = w.cref(),
                               .m = kind == kNone ? ConstRef{} : m.cref(),
                               .v = kind == kNone || kind == kMomentum ? ConstRef{} : v.cref(),
                               .to = to.ref(),
                               .segments = table.cref(),
                               .scalars = slot.cref(),
                               .direction = r},
             s);
      const auto ws = test::to_double(s, w), ms = test::to_double(s, m), vs = test::to_double(s, v);
      for (const SegmentRow& row : rows)
        for (auto i = size_t(row.offset); i < size_t(row.offset + row.count); ++i)
          expected[i] = reference(r, values, row.group, ws[i], ms[i], vs[i]);
      to.check();
      test::expect_close(test::to_double(s, to.tensor()), expected, test::bound(DType::kF32));
    }
  });
}

/// What updates of both kinds write, kept apart so that they can be compared.
struct Arrays {
  Arrays(const Stream& s, int64_t n)
      : w(test::guarded_random(s, n, 1)),
        a(test::guarded_random(s, n, 2, 0, 1)),
        b(test::guarded_random(s, n, 3, 0, 1)),
        next(untouched(s, n)),
        last(untouched(s, n)),
        first(untouched(s, n)),
        second(untouched(s, n)) {}
  void check() const {
    for (const Guarded* g : {&w, &a, &b, &next, &last, &first, &second}) g->check();
  }
  Guarded w, a, b;  // weights and two moments
  Guarded next, last, first, second;
};
std::vector<float> floats(const Stream& s, const Guarded& g) { return g.tensor().to_vector<float>(s); }
/// Equal inside the segments; `to` is untouched outside.
void expect_inside(const Stream& s, const Guarded& to, const Guarded& expected, const std::vector<SegmentRow>& rows) {
  std::vector<float> want(size_t(to.tensor().numel()), kUntouched);
  const auto all = floats(s, expected);
  for (const SegmentRow& r : rows)
    std::copy(all.begin() + r.offset, all.begin() + r.offset + r.count, want.begin() + r.offset);
  EXPECT_EQ(floats(s, to), want);
}

struct Both {
  std::function<void(const Arrays&, bool elsewhere)> update;  // elsewhere: with next and forecasts
  Direction kind;
  bool momentum = true;
  bool corrected = true;  // the scalars have bias corrections
};
/// An update elsewhere with forecasts against one in place and passes of their own.
void expect_the_same(const Stream& s, int64_t n, const std::vector<SegmentRow>& rows, const Both& both) {
  const Arrays plain(s, n), fused(s, n);
  const Tensor table = test::segment_table(s, rows);
  both.update(plain, false);
  both.update(fused, true);
  fused.check();
  const Arrays before(s, n);
  EXPECT_EQ(floats(s, fused.w), floats(s, before.w));
  expect_inside(s, fused.next, plain.w, rows);
  EXPECT_EQ(floats(s, fused.a), floats(s, plain.a));
  EXPECT_EQ(floats(s, fused.b), floats(s, plain.b));
  for (int k = 0; k < kMaxForecasts; ++k) {
    const Guarded alone = untouched(s, n);
    const Tensor slot = test::scalar_slot(s, scalars_of(k, both.corrected));
    const Guarded& second = both.kind == kAdaptive ? plain.b : plain.last;
    launch(kernels::Forecast{.w = plain.w.ref(),
                             .m = both.momentum ? plain.a.ref() : plain.last.ref(),
                             .v = second.ref(),
                             .to = alone.ref(),
                             .segments = table.cref(),
                             .scalars = slot.cref(),
                             .direction = rule(k == 0 && both.kind == kNextMomentum ? kMomentum : both.kind)},
           s);
    EXPECT_EQ(floats(s, k == 0 ? fused.first : fused.second), floats(s, alone));
  }
}

TEST_P(ForecastTest, SgdsPassWritesTheSameBits) {
  const Stream s(device());
  const Tensor slot = test::scalar_slot(s, scalars());
  over_sizes([&](int64_t n, const std::vector<SegmentRow>& rows) {
    const Tensor table = test::segment_table(s, rows), g = test::random(s, {n}, 9);
    for (const bool momentum : {false, true}) {
      const auto update = [&](const Arrays& x, bool elsewhere) {
        kernels::Sgd call{.w = x.w.ref(),
                          .g = g.cref(),
                          .buffer = momentum ? x.a.ref() : Ref{},
                          .view = {},
                          .segments = table.cref(),
                          .scalars = slot.cref(),
                          .finite = {},
                          .momentum = momentum ? 0.9f : 0.0f,
                          .rest = momentum ? 0.7f : 1.0f,
                          .last = x.last.ref()};
        if (elsewhere) {
          call.next = x.next.ref();
          call.forecasts[0] = {x.first.ref(), rule(kMomentum)};
          call.forecasts[1] = {x.second.ref(), rule(momentum ? kNextMomentum : kMomentum)};
        }
        launch(call, s);
      };
      expect_the_same(s, n, rows, {update, momentum ? kNextMomentum : kMomentum, momentum});
    }
  });
}

TEST_P(ForecastTest, AdamsPassWritesTheSameBits) {
  const Stream s(device());
  const Tensor slot = test::scalar_slot(s, scalars());
  over_sizes([&](int64_t n, const std::vector<SegmentRow>& rows) {
    const Tensor table = test::segment_table(s, rows), g = test::random(s, {n}, 9);
    for (const bool decoupled : {false, true}) {
      const auto update = [&](const Arrays& x, bool elsewhere) {
        kernels::Adam call{.w = x.w.ref(),
                           .g = g.cref(),
                           .m = x.a.ref(),
                           .v = x.b.ref(),
                           .view = {},
                           .segments = table.cref(),
                           .scalars = slot.cref(),
                           .finite = {},
                           .decoupled = decoupled};
        if (elsewhere) {
          call.next = x.next.ref();
          call.forecasts[0] = {x.first.ref(), rule(kAdaptive)};
          call.forecasts[1] = {x.second.ref(), rule(kAdaptive)};
        }
        launch(call, s);
      };
      expect_the_same(s, n, rows, {update, kAdaptive});
    }
  });
}

TEST_P(ForecastTest, RmspropsPassWritesTheSameBits) {
  const Stream s(device());
  StepScalars uncorrected = scalars();
  uncorrected.bias1 = uncorrected.root_bias2 = 1.0f;
  const Tensor slot = test::scalar_slot(s, uncorrected);
  over_sizes([&](int64_t n, const std::vector<SegmentRow>& rows) {
    const Tensor table = test::segment_table(s, rows), g = test::random(s, {n}, 9);
    const auto update = [&](const Arrays& x, bool elsewhere) {
      kernels::Rmsprop call{.w = x.w.ref(),
                            .g = g.cref(),
                            .v = x.b.ref(),
                            .view = {},
                            .segments = table.cref(),
                            .scalars = slot.cref(),
                            .finite = {},
                            .last = x.last.ref()};
      if (elsewhere) {
        call.next = x.next.ref();
        call.forecasts[0] = {x.first.ref(), rule(kAdaptive)};
        call.forecasts[1] = {x.second.ref(), rule(kAdaptive)};
      }
      launch(call, s);
    };
    expect_the_same(s, n, rows, {update, kAdaptive, /*momentum=*/false, /*corrected=*/false});
  });
}

TEST_P(ForecastTest, ASkippedUpdateWritesTheOldWeights) {
  const Stream s(device());
  constexpr int64_t kCount = 40001;
  const std::vector<SegmentRow> rows = test::awkward_segments(kCount, 7);
  const Tensor table = test::segment_table(s, rows), slot = test::scalar_slot(s, scalars());
  const Tensor g = test::random(s, {kCount}, 9), flag = Tensor::from<int32_t>(s, std::vector<int32_t>{0}, {1});
  for (const int count : {0, 1, 2}) {
    const Arrays x(s, kCount), before(s, kCount);
    kernels::Sgd sgd{.w = x.w.ref(),
                     .g = g.cref(),
                     .buffer = x.a.ref(),
                     .view = {},
                     .segments = table.cref(),
                     .scalars = slot.cref(),
                     .finite = flag.cref(),
                     .momentum = 0.9f,
                     .next = x.next.ref(),
                     .last = x.last.ref()};
    if (count > 0) sgd.forecasts[0] = {x.first.ref(), rule(kMomentum)};
    if (count > 1) sgd.forecasts[1] = {x.second.ref(), rule(kMomentum)};
    launch(sgd, s);
    x.check();
    for (const auto& [got, expected] :
         {std::pair(&x.w, &before.w), std::pair(&x.a, &before.a), std::pair(&x.last, &before.last)})
      EXPECT_EQ(floats(s, *got), floats(s, *expected));
    expect_inside(s, x.next, x.w, rows);
    expect_inside(s, x.first, count > 0 ? x.w : before.first, rows);
    expect_inside(s, x.second, count > 1 ? x.w : before.second, rows);
  }
}

TEST_P(ForecastTest, RefusesArraysThatDoNotFit) {
  const Stream s(device());
  const Guarded w(s, {8}), m(s, {8}), v(s, {8}), to(s, {8}), shorter(s, {7}), half(s, {8}, DType::kBF16);
  const Tensor table = test::segment_table(s, {{0, 8, 0}}), slot = test::scalar_slot(s, {});
  const kernels::Forecast good{.w = w.ref(),
                               .m = m.ref(),
                               .v = v.ref(),
                               .to = to.ref(),
                               .segments = table.cref(),
                               .scalars = slot.cref(),
                               .direction = {.kind = kAdaptive}};
  const auto broken = [&](auto change) {
    kernels::Forecast k = good;
    change(k);
    return k;
  };
  EXPECT_NO_THROW(good.check());
  EXPECT_THROW(broken([&](auto& k) { k.w = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.m = ConstRef{}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.v = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.to = half.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.to = w.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.to = v.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.segments.shape = Shape{3}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.scalars = w.ref(); }).check(), DTypeError);
  EXPECT_NO_THROW(broken([&](auto& k) { k.direction.kind = kMomentum, k.v = ConstRef{}; }).check());
  EXPECT_NO_THROW(broken([&](auto& k) { k.direction.kind = kNone, k.m = k.v = ConstRef{}; }).check());
  kernels::Sgd update{.w = w.ref(),
                      .g = m.ref(),
                      .buffer = {},
                      .view = {},
                      .segments = table.cref(),
                      .scalars = slot.cref(),
                      .finite = {}};
  update.forecasts[1] = {to.ref(), {}};
  EXPECT_THROW(update.check(), ShapeError) << "a second forecast without a first";
  s.sync();
}

}  // namespace
}  // namespace sluice::forecast_test
