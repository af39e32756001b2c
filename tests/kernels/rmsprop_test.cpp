// RMSprop over a whole arena against PyTorch's formula in double, over several steps, segments and groups.
#include "kernels/rmsprop.h"

#include "tests/kernels/update_case.h"

namespace sluice::rmsprop_test {
namespace {

using test::Guarded;
using RmspropTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, RmspropTest, testing::ValuesIn(test::test_devices()), test::device_label);

constexpr double kAlpha = 0.9, kEps = 1e-4;

struct State {
  std::vector<double> w, v, last;
};

/// torch.optim.RMSprop, literally.
void reference_step(State& x, const std::vector<double>& grads, const std::vector<SegmentRow>& rows) {
  const StepScalars s = test::awkward_scalars();
  for (const SegmentRow& r : rows)
    for (auto i = size_t(r.offset); i < size_t(r.offset + r.count); ++i) {
      const double g = grads[i] + double(s.weight_decay[r.group]) * x.w[i];
      x.v[i] = kAlpha * x.v[i] + (1 - kAlpha) * g * g;
      x.w[i] -= double(s.lr[r.group]) * g / (std::sqrt(x.v[i]) + kEps);
      x.last[i] = g;
    }
}

void run_steps(const Stream& stream, int64_t n, int64_t segments) {
  const auto rows = test::awkward_segments(n, segments);
  const Tensor table = test::segment_table(stream, rows), slot = test::scalar_slot(stream, test::awkward_scalars());
  const Guarded w = test::guarded_random(stream, n, 1), v = test::guarded_zeros(stream, n);
  const Guarded last = test::guarded_zeros(stream, n), view(stream, {n}, DType::kBF16);
  State expected{test::to_double(stream, w.tensor()), std::vector<double>(size_t(n)), std::vector<double>(size_t(n))};
  for (int step = 0; step < 5; ++step) {
    const Tensor g = test::random(stream, {n}, uint64_t(10 + step));
    launch(kernels::Rmsprop{.w = w.ref(),
                            .g = g.cref(),
                            .v = v.ref(),
                            .view = step % 2 == 0 ? view.ref() : Ref{},
                            .segments = table.cref(),
                            .scalars = slot.cref(),
                            .finite = {},
                            .alpha = kAlpha,
                            .eps = float(kEps),
                            .last = step % 2 == 0 ? last.ref() : Ref{}},
           stream);
    reference_step(expected, test::to_double(stream, g), rows);
  }
  for (const Guarded* g : {&w, &v, &last, &view}) g->check();
  test::expect_close(test::to_double(stream, w.tensor()), expected.w, test::bound(DType::kF32));
  test::expect_close(test::to_double(stream, v.tensor()), expected.v, test::bound(DType::kF32));
  test::expect_close(test::to_double(stream, last.tensor()), expected.last, test::bound(DType::kF32));
  test::expect_view_of(stream, view.tensor(), w.tensor(), rows);
}

TEST_P(RmspropTest, MatchesPyTorchOverSizesAndSegments) {
  const Stream stream(device());
  for (const int64_t n : test::kUpdateSizes)
    for (const int64_t segments : {int64_t(1), int64_t(7), int64_t(1000)}) {
      if (segments > std::max<int64_t>(n, 1)) continue;
      SCOPED_TRACE(testing::Message() << n << " elements, " << segments << " segments");
      run_steps(stream, n, segments);
    }
}

TEST_P(RmspropTest, AClearedFlagChangesNothing) {
  const Stream stream(device());
  constexpr int64_t kCount = 1000;
  const Tensor table = test::segment_table(stream, {{0, kCount, 0}});
  const Tensor slot = test::scalar_slot(stream, test::awkward_scalars());
  const Guarded w = test::guarded_random(stream, kCount, 1), v = test::guarded_zeros(stream, kCount);
  const Guarded last = test::guarded_zeros(stream, kCount);
  const Tensor g = test::random(stream, {kCount}, 2, 0.1f, 1.0f);
  const std::vector<double> before = test::to_double(stream, w.tensor()), zeros(size_t(kCount), 0.0);
  for (const int32_t finite : {0, 1}) {
    const Tensor flag = Tensor::from<int32_t>(stream, std::vector<int32_t>{finite}, {1});
    launch(kernels::Rmsprop{.w = w.ref(),
                            .g = g.cref(),
                            .v = v.ref(),
                            .view = {},
                            .segments = table.cref(),
                            .scalars = slot.cref(),
                            .finite = flag.cref(),
                            .last = last.ref()},
           stream);
    EXPECT_EQ(test::to_double(stream, w.tensor()) == before, finite == 0);
    EXPECT_EQ(test::to_double(stream, v.tensor()) == zeros, finite == 0);
    EXPECT_EQ(test::to_double(stream, last.tensor()) == zeros, finite == 0);
  }
}

TEST_P(RmspropTest, CountsEveryByteOnce) {
  const Stream stream(device());
  const Guarded w(stream, {1000}), g(stream, {1000}), v(stream, {1000}), last(stream, {1000}), to(stream, {1000});
  const Tensor table = test::segment_table(stream, {{0, 1000, 0}}), slot = test::scalar_slot(stream, {});
  kernels::Rmsprop call{.w = w.ref(),
                        .g = g.ref(),
                        .v = v.ref(),
                        .view = {},
                        .segments = table.cref(),
                        .scalars = slot.cref(),
                        .finite = {}};
  const int64_t small = 24 + int64_t(sizeof(StepScalars));
  EXPECT_EQ(call.cost().written, 1000 * 8);
  EXPECT_EQ(call.cost().read, 1000 * 12 + small);
  call.last = last.ref();
  call.next = to.ref();
  EXPECT_EQ(call.cost().written, 1000 * 12);
  EXPECT_EQ(call.cost().read, 1000 * 12 + small);
  stream.sync();
}

TEST_P(RmspropTest, RefusesArraysThatDoNotFit) {
  const Stream stream(device());
  const Guarded w(stream, {8}), g(stream, {8}), v(stream, {8}), shorter(stream, {7});
  const Tensor table = test::segment_table(stream, {{0, 8, 0}}), slot = test::scalar_slot(stream, {});
  const kernels::Rmsprop good{.w = w.ref(),
                              .g = g.ref(),
                              .v = v.ref(),
                              .view = {},
                              .segments = table.cref(),
                              .scalars = slot.cref(),
                              .finite = {}};
  const auto broken = [&](auto change) {
    kernels::Rmsprop k = good;
    change(k);
    return k;
  };
  EXPECT_NO_THROW(good.check());
  EXPECT_THROW(broken([&](auto& k) { k.g = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.v = Ref{}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.last = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.next = k.w; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.view = g.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.segments.shape = Shape{1, 2}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.scalars = w.ref(); }).check(), DTypeError);
  stream.sync();
}

}  // namespace
}  // namespace sluice::rmsprop_test
