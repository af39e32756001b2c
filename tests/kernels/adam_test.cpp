// Adam and AdamW over a whole arena against PyTorch's formula in double, over several steps, segments and groups.
#include "kernels/adam.h"

#include "tests/kernels/update_case.h"

namespace sluice::adam_test {
namespace {

using test::Guarded;
using AdamTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, AdamTest, testing::ValuesIn(test::test_devices()), test::device_label);

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-6;

struct State {
  std::vector<double> w, m, v;
};

/// torch.optim.Adam and AdamW, literally; t counts from 1.
void reference_step(State& x, const std::vector<double>& grads, const std::vector<SegmentRow>& rows,
                    const StepScalars& s, bool decoupled, int t) {
  const double bias1 = 1 - std::pow(kBeta1, t), bias2 = 1 - std::pow(kBeta2, t);
  for (const SegmentRow& r : rows) {
    const double lr = double(s.lr[r.group]), decay = double(s.weight_decay[r.group]);
    for (auto i = size_t(r.offset); i < size_t(r.offset + r.count); ++i) {
      double g = grads[i];
      if (decoupled)
        x.w[i] *= 1 - lr * decay;
      else
        g += decay * x.w[i];
      x.m[i] = kBeta1 * x.m[i] + (1 - kBeta1) * g;
      x.v[i] = kBeta2 * x.v[i] + (1 - kBeta2) * g * g;
      x.w[i] -= lr / bias1 * x.m[i] / (std::sqrt(x.v[i]) / std::sqrt(bias2) + kEps);
    }
  }
}

StepScalars scalars_of_step(int t) {
  StepScalars s = test::awkward_scalars();
  s.bias1 = float(1 - std::pow(kBeta1, t));
  s.root_bias2 = float(std::sqrt(1 - std::pow(kBeta2, t)));
  return s;
}

void run_steps(const Stream& stream, int64_t n, int64_t segments, bool decoupled) {
  const auto rows = test::awkward_segments(n, segments);
  const Tensor table = test::segment_table(stream, rows);
  const Guarded w = test::guarded_random(stream, n, 1), view(stream, {n}, DType::kBF16);
  const Guarded m = test::guarded_zeros(stream, n), v = test::guarded_zeros(stream, n);
  State expected{test::to_double(stream, w.tensor()), std::vector<double>(size_t(n)), std::vector<double>(size_t(n))};
  for (int t = 1; t <= 5; ++t) {
    const StepScalars scalars = scalars_of_step(t);
    const Tensor slot = test::scalar_slot(stream, scalars);
    const Tensor g = test::random(stream, {n}, uint64_t(10 + t));
    launch(kernels::Adam{.w = w.ref(),
                         .g = g.cref(),
                         .m = m.ref(),
                         .v = v.ref(),
                         .view = t % 2 == 1 ? view.ref() : Ref{},
                         .segments = table.cref(),
                         .scalars = slot.cref(),
                         .finite = {},
                         .beta1 = kBeta1,
                         .beta2 = kBeta2,
                         .eps = float(kEps),
                         .decoupled = decoupled},
           stream);
    reference_step(expected, test::to_double(stream, g), rows, scalars, decoupled, t);
  }
  w.check();
  m.check();
  v.check();
  view.check();
  test::expect_close(test::to_double(stream, w.tensor()), expected.w, test::bound(DType::kF32));
  test::expect_close(test::to_double(stream, m.tensor()), expected.m, test::bound(DType::kF32));
  test::expect_close(test::to_double(stream, v.tensor()), expected.v, test::bound(DType::kF32));
  test::expect_view_of(stream, view.tensor(), w.tensor(), rows);
}

TEST_P(AdamTest, MatchesPyTorchOverSizesAndSegments) {
  Stream stream(device());
  for (bool decoupled : {false, true}) {
    for (int64_t n : test::kUpdateSizes) {
      for (int64_t segments : {int64_t(1), int64_t(7), int64_t(1000)}) {
        if (segments > std::max<int64_t>(n, 1)) continue;
        SCOPED_TRACE(testing::Message() << n << " elements, " << segments << " segments"
                                        << (decoupled ? ", decoupled" : ""));
        run_steps(stream, n, segments, decoupled);
      }
    }
  }
}

TEST_P(AdamTest, AClearedFlagChangesNothing) {
  Stream stream(device());
  constexpr int64_t kCount = 1000;
  const Tensor table = test::segment_table(stream, {{0, kCount, 0}});
  const Tensor slot = test::scalar_slot(stream, scalars_of_step(1));
  const Guarded w = test::guarded_random(stream, kCount, 1);
  const Guarded m = test::guarded_zeros(stream, kCount), v = test::guarded_zeros(stream, kCount);
  const Tensor g = test::random(stream, {kCount}, 2, 0.1f, 1.0f);
  const std::vector<double> before = test::to_double(stream, w.tensor()), zeros(size_t(kCount), 0.0);
  for (int32_t finite : {0, 1}) {
    const Tensor flag = Tensor::from<int32_t>(stream, std::vector<int32_t>{finite}, {1});
    launch(kernels::Adam{.w = w.ref(),
                         .g = g.cref(),
                         .m = m.ref(),
                         .v = v.ref(),
                         .view = {},
                         .segments = table.cref(),
                         .scalars = slot.cref(),
                         .finite = flag.cref()},
           stream);
    EXPECT_EQ(test::to_double(stream, w.tensor()) == before, finite == 0);
    EXPECT_EQ(test::to_double(stream, m.tensor()) == zeros, finite == 0);
    EXPECT_EQ(test::to_double(stream, v.tensor()) == zeros, finite == 0);
  }
}

TEST_P(AdamTest, DoesNotDependOnTheTeam) {
  if (!device().is_cpu()) GTEST_SKIP() << "a GPU has no team";
  std::vector<std::vector<double>> results;
  for (int team : {1, 2, 3}) {
    Stream stream(device(), CpuShare{.team = team, .cores = {}});
    constexpr int64_t kCount = 50000;
    const Tensor table = test::segment_table(stream, test::awkward_segments(kCount, 9));
    const Tensor slot = test::scalar_slot(stream, scalars_of_step(1));
    const Guarded w = test::guarded_random(stream, kCount, 1);
    const Guarded m = test::guarded_zeros(stream, kCount), v = test::guarded_zeros(stream, kCount);
    const Tensor g = test::random(stream, {kCount}, 2);
    launch(kernels::Adam{.w = w.ref(),
                         .g = g.cref(),
                         .m = m.ref(),
                         .v = v.ref(),
                         .view = {},
                         .segments = table.cref(),
                         .scalars = slot.cref(),
                         .finite = {}},
           stream);
    results.push_back(test::to_double(stream, w.tensor()));
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_P(AdamTest, CountsEveryByteOnce) {
  Stream stream(device());
  const Guarded w(stream, {1000}), g(stream, {1000}), m(stream, {1000}), v(stream, {1000});
  const Tensor table = test::segment_table(stream, {{0, 1000, 0}}), slot = test::scalar_slot(stream, {});
  const kernels::Adam call{.w = w.ref(),
                           .g = g.ref(),
                           .m = m.ref(),
                           .v = v.ref(),
                           .view = {},
                           .segments = table.cref(),
                           .scalars = slot.cref(),
                           .finite = {}};
  EXPECT_EQ(call.cost().written, 1000 * 12);
  EXPECT_EQ(call.cost().read, 1000 * 16 + 24 + int64_t(sizeof(StepScalars)));
  stream.sync();
}

TEST_P(AdamTest, RefusesArraysThatDoNotFit) {
  Stream stream(device());
  const Guarded w(stream, {8}), g(stream, {8}), m(stream, {8}), v(stream, {8}), shorter(stream, {7});
  const Tensor table = test::segment_table(stream, {{0, 8, 0}}), slot = test::scalar_slot(stream, {});
  const kernels::Adam good{.w = w.ref(),
                           .g = g.ref(),
                           .m = m.ref(),
                           .v = v.ref(),
                           .view = {},
                           .segments = table.cref(),
                           .scalars = slot.cref(),
                           .finite = {}};
  const auto broken = [&](auto change) {
    kernels::Adam k = good;
    change(k);
    return k;
  };
  EXPECT_NO_THROW(good.check());
  EXPECT_THROW(broken([&](auto& k) { k.g = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.m = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.v = Ref{}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.view = g.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.segments.shape = Shape{1, 2}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.scalars.shape = Shape{4}; }).check(), ShapeError);
  stream.sync();
}

}  // namespace
}  // namespace sluice::adam_test
