// SGD over a whole arena against PyTorch's formula in double, over several steps, segments and groups.
#include "kernels/sgd.h"

#include "tests/kernels/update_case.h"

namespace sluice::sgd_test {
namespace {

using test::Guarded;
using SgdTest = test::OnEachDevice;  // one suite name per file
INSTANTIATE_TEST_SUITE_P(Devices, SgdTest, testing::ValuesIn(test::test_devices()), test::device_label);

struct Rule {
  double momentum = 0;
  bool nesterov = false;
};

struct State {
  std::vector<double> w, buffer;
};

/// torch.optim.SGD, literally: the first step sets the buffer to the decayed gradient.
void reference_step(State& x, const std::vector<double>& g, const std::vector<SegmentRow>& rows, Rule rule,
                    bool first) {
  const StepScalars s = test::awkward_scalars();
  for (const SegmentRow& r : rows) {
    for (auto i = size_t(r.offset); i < size_t(r.offset + r.count); ++i) {
      double d = g[i] + double(s.weight_decay[r.group]) * x.w[i];
      if (rule.momentum != 0) {
        x.buffer[i] = first ? d : rule.momentum * x.buffer[i] + d;
        d = rule.nesterov ? d + rule.momentum * x.buffer[i] : x.buffer[i];
      }
      x.w[i] -= double(s.lr[r.group]) * d;
    }
  }
}

void run_steps(const Stream& stream, int64_t n, int64_t segments, Rule rule) {
  const auto rows = test::awkward_segments(n, segments);
  const Tensor table = test::segment_table(stream, rows), slot = test::scalar_slot(stream, test::awkward_scalars());
  const Guarded w = test::guarded_random(stream, n, 1), buffer = test::guarded_zeros(stream, n);
  const Guarded view(stream, {n}, DType::kBF16);
  State expected{test::to_double(stream, w.tensor()), std::vector<double>(size_t(n), 0.0)};
  const bool momentum = rule.momentum != 0;
  for (int step = 0; step < 5; ++step) {
    const Tensor g = test::random(stream, {n}, uint64_t(10 + step));
    launch(kernels::Sgd{.w = w.ref(),
                        .g = g.cref(),
                        .buffer = momentum ? buffer.ref() : Ref{},
                        .view = step % 2 == 0 ? view.ref() : Ref{},
                        .segments = table.cref(),
                        .scalars = slot.cref(),
                        .finite = {},
                        .momentum = float(rule.momentum),
                        .nesterov = rule.nesterov},
           stream);
    reference_step(expected, test::to_double(stream, g), rows, rule, step == 0);
  }
  w.check();
  buffer.check();
  view.check();
  test::expect_close(test::to_double(stream, w.tensor()), expected.w, test::bound(DType::kF32));
  test::expect_close(test::to_double(stream, buffer.tensor()), expected.buffer, test::bound(DType::kF32));
  test::expect_view_of(stream, view.tensor(), w.tensor(), rows);
}

TEST_P(SgdTest, MatchesPyTorchOverSizesSegmentsAndRules) {
  Stream stream(device());
  for (const Rule rule : {Rule{}, Rule{.momentum = 0.9}, Rule{.momentum = 0.9, .nesterov = true}}) {
    for (int64_t n : test::kUpdateSizes) {
      for (int64_t segments : {int64_t(1), int64_t(7), int64_t(1000)}) {
        if (segments > std::max<int64_t>(n, 1)) continue;
        SCOPED_TRACE(testing::Message() << n << " elements, " << segments << " segments, momentum " << rule.momentum
                                        << (rule.nesterov ? " nesterov" : ""));
        run_steps(stream, n, segments, rule);
      }
    }
  }
}

TEST_P(SgdTest, LeavesElementsOutsideTheSegmentsAlone) {
  Stream stream(device());
  constexpr int64_t kCount = 100;
  const Tensor table = test::segment_table(stream, {{10, 5, 0}, {90, 1, 1}});
  const Tensor slot = test::scalar_slot(stream, test::awkward_scalars());
  const Guarded w = test::guarded_random(stream, kCount, 1);
  const Tensor g = test::random(stream, {kCount}, 2, 0.5f, 1.0f);
  const std::vector<double> before = test::to_double(stream, w.tensor());
  launch(kernels::Sgd{.w = w.ref(),
                      .g = g.cref(),
                      .buffer = {},
                      .view = {},
                      .segments = table.cref(),
                      .scalars = slot.cref(),
                      .finite = {}},
         stream);
  const std::vector<double> after = test::to_double(stream, w.tensor());
  for (size_t i = 0; i < size_t(kCount); ++i) {
    const bool inside = (i >= 10 && i < 15) || i == 90;
    EXPECT_EQ(before[i] != after[i], inside) << "element " << i;
  }
}

TEST_P(SgdTest, AClearedFlagChangesNothing) {
  Stream stream(device());
  constexpr int64_t kCount = 1000;
  const Tensor table = test::segment_table(stream, {{0, kCount, 0}});
  const Tensor slot = test::scalar_slot(stream, test::awkward_scalars());
  const Guarded w = test::guarded_random(stream, kCount, 1), buffer = test::guarded_zeros(stream, kCount);
  const Tensor g = test::random(stream, {kCount}, 2);
  const std::vector<double> before = test::to_double(stream, w.tensor());
  for (int32_t finite : {0, 1}) {
    const Tensor flag = Tensor::from<int32_t>(stream, std::vector<int32_t>{finite}, {1});
    launch(kernels::Sgd{.w = w.ref(),
                        .g = g.cref(),
                        .buffer = buffer.ref(),
                        .view = {},
                        .segments = table.cref(),
                        .scalars = slot.cref(),
                        .finite = flag.cref(),
                        .momentum = 0.9f},
           stream);
    EXPECT_EQ(test::to_double(stream, w.tensor()) == before, finite == 0);
    const std::vector<double> zeros(size_t(kCount), 0.0);
    EXPECT_EQ(test::to_double(stream, buffer.tensor()) == zeros, finite == 0);
  }
}

TEST_P(SgdTest, CountsEveryByteOnce) {
  Stream stream(device());
  const Guarded w(stream, {1000}), g(stream, {1000}), buffer(stream, {1000}), view(stream, {1000}, DType::kBF16);
  const Tensor table = test::segment_table(stream, {{0, 1000, 0}}), slot = test::scalar_slot(stream, {});
  const kernels::Sgd call{.w = w.ref(),
                          .g = g.ref(),
                          .buffer = buffer.ref(),
                          .view = view.ref(),
                          .segments = table.cref(),
                          .scalars = slot.cref(),
                          .finite = {}};
  EXPECT_EQ(call.cost().written, 1000 * (4 + 4 + 2));
  EXPECT_EQ(call.cost().read, 1000 * (4 + 4 + 4) + 24 + int64_t(sizeof(StepScalars)));
  stream.sync();
}

TEST_P(SgdTest, RefusesArraysThatDoNotFit) {
  Stream stream(device());
  const Guarded w(stream, {8}), g(stream, {8}), shorter(stream, {7}), square(stream, {2, 4});
  const Guarded half(stream, {8}, DType::kBF16), ints(stream, {2, 3}, DType::kI32);
  const Tensor table = test::segment_table(stream, {{0, 8, 0}}), slot = test::scalar_slot(stream, {});
  const kernels::Sgd good{.w = w.ref(),
                          .g = g.ref(),
                          .buffer = {},
                          .view = {},
                          .segments = table.cref(),
                          .scalars = slot.cref(),
                          .finite = {}};
  const auto broken = [&](auto change) {
    kernels::Sgd k = good;
    change(k);
    return k;
  };
  EXPECT_NO_THROW(good.check());
  EXPECT_THROW(broken([&](auto& k) { k.g = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.w = square.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.buffer = shorter.ref(); }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.view = g.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.w = half.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.segments = ints.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.segments.shape = Shape{3}; }).check(), ShapeError);
  EXPECT_THROW(broken([&](auto& k) { k.scalars = w.ref(); }).check(), DTypeError);
  EXPECT_THROW(broken([&](auto& k) { k.finite = w.ref(); }).check(), DTypeError);
  stream.sync();
}

}  // namespace
}  // namespace sluice::sgd_test
