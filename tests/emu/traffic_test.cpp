// The bytes that each call really moves on a GPU against those that its cost() claims: equal, or off by what a table
// here says, with the reason.
#include "tests/emu/traffic.h"

#include "kernels/activation.h"
#include "kernels/adam.h"
#include "kernels/add.h"
#include "kernels/avg_pool.h"
#include "kernels/batch_norm.h"
#include "kernels/check_finite.h"
#include "kernels/conv2d.h"
#include "kernels/convert.h"
#include "kernels/correct_count.h"
#include "kernels/dropout.h"
#include "kernels/fill.h"
#include "kernels/forecast.h"
#include "kernels/iota.h"
#include "kernels/log_softmax.h"
#include "kernels/matmul.h"
#include "kernels/max_pool.h"
#include "kernels/mse.h"
#include "kernels/one_hot.h"
#include "kernels/rmsprop.h"
#include "kernels/row_normalise.h"
#include "kernels/scale.h"
#include "kernels/select_rows.h"
#include "kernels/sgd.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/supervised_contrastive.h"
#include "tests/kernels/update_case.h"

namespace sluice::test {
namespace {

using TrafficTest = Traffic;
INSTANTIATE_TEST_SUITE_P(Types, TrafficTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& of) { return name(of.param); });

constexpr int64_t kRows = 130, kCols = 36, kCount = kRows * kCols;
constexpr const char* kPartial = "partial sums of blocks go through the workspace";
constexpr const char* kOneValue = "all threads load one value";

TEST_P(TrafficTest, ElementWise) {
  const Tensor x = random({kRows, kCols}), z = random({kRows, kCols}, 2), y = empty({kRows, kCols});
  expect_traffic(kernels::Activation{.x = x.cref(), .y = y.ref(), .act = Act::kGelu});
  expect_traffic(kernels::ActivationGrad{.kept = x.cref(), .dy = z.cref(), .dx = y.ref(), .act = Act::kRelu});
  expect_traffic(kernels::Add{.a = x.cref(), .b = z.cref(), .y = y.ref()});
  expect_traffic(kernels::Add{.a = x.cref(), .b = z.cref(), .y = z.ref()});
  expect_traffic(kernels::Scale{.x = x.cref(), .factor = floats({1}).cref(), .y = y.ref()},
                 {.loads = 2, .why = kOneValue});
  expect_traffic(kernels::FillConstant{.y = y.ref(), .value = 3});
  expect_traffic(kernels::FillUniform{.y = y.ref(), .key = {1, 2}});
  const Tensor labels = random_ints(s, {kRows}, 1, 0, int32_t(kCols));
  expect_traffic(kernels::OneHot{.labels = labels.cref(), .y = y.ref()},
                 {.loads = double(kCols), .why = "each element of a row loads its label"});
  const std::vector<int32_t> numbers{9, 3, 100, 64, 0, 7, 128};
  const Tensor picked = Tensor::from<int32_t>(s, numbers, {7}), some = empty({7, kCols});
  expect_traffic(kernels::SelectRows{.x = x.cref(), .index = picked.cref(), .y = some.ref()},
                 {.loads = 2, .why = "each element of a row loads its index"});
  expect_traffic(kernels::Iota{.y = Tensor::empty(s, {kCount}, DType::kI32).ref()});
  expect_traffic(kernels::OneHot{.y = random({kCols, kCols}).ref()});
  expect_traffic(kernels::FillNormal{.y = y.ref(), .key = {1, 2}});
  const Tensor other = Tensor::empty(s, {kRows, kCols}, type == DType::kF32 ? DType::kBF16 : DType::kF32);
  expect_traffic(kernels::Convert{.x = x.cref(), .y = other.ref()});
}

TEST_P(TrafficTest, Rows) {
  const Tensor x = random({kRows, kCols}), dy = random({kRows, kCols}, 2), y = empty({kRows, kCols});
  const Tensor norms = test::random(s, {kRows}, 3, 1, 2);
  const char* const why = "a row is read twice while it is in L1; all lanes load its norm";
  expect_traffic(kernels::RowNormalise{.x = x.cref(), .y = y.ref(), .norms = norms.ref()}, {.loads = 2, .why = why});
  expect_traffic(kernels::RowNormaliseGrad{.y = x.cref(), .norms = norms.cref(), .dy = dy.cref(), .dx = y.ref()},
                 {.loads = 3, .why = why});
  expect_traffic(kernels::LogSoftmax{.x = x.cref(), .y = y.ref()}, {.loads = 3, .why = why});
  expect_traffic(kernels::LogSoftmaxGrad{.y = x.cref(), .dy = dy.cref(), .dx = y.ref()}, {.loads = 1.5, .why = why});
}

TEST_P(TrafficTest, DropoutReadsWhatItKeeps) {
  const Tensor x = random({kRows, kCols}), y = empty({kRows, kCols});
  launch(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}}, s);
  int64_t kept = 0;
  for (const double v : to_double(s, y)) kept += v != 0 ? 1 : 0;
  expect_traffic(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}},
                 {.read = (kept - kCount) * size, .why = "what falls is not read"});
  const Tensor r = random({kRows, kCols}, 2);
  expect_traffic(kernels::Dropout{.x = x.cref(), .residual = r.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}},
                 {.read = (kept - kCount) * size, .why = "what falls is not read"});
}

TEST_P(TrafficTest, Pools) {
  const kernels::Pool2d pool{.window_h = 3, .window_w = 2, .stride = 2, .padding = 1};
  const Tensor x = random({2, 9, 8, 12});
  const Shape out = pool.output("test", x.shape());
  const Tensor y = empty(out), dy = random(out, 2), dx = empty(x.shape());
  const Tensor index = Tensor::empty(s, out, DType::kU8, MemoryTag::kActivations);
  const char* const why = "windows overlap";
  expect_traffic(kernels::MaxPool{.x = x.cref(), .y = y.ref(), .index = index.ref(), .pool = pool},
                 {.loads = 1.8, .why = why});
  expect_traffic(kernels::MaxPoolGrad{.index = index.cref(), .dy = dy.cref(), .dx = dx.ref(), .pool = pool},
                 {.loads = 6, .why = why});
  expect_traffic(kernels::AvgPool{.x = x.cref(), .y = y.ref(), .pool = pool}, {.loads = 1.8, .why = why});
  expect_traffic(kernels::AvgPoolGrad{.dy = dy.cref(), .dx = dx.ref(), .pool = pool}, {.loads = 6, .why = why});
}

TEST_P(TrafficTest, Losses) {
  const Tensor x = random({kRows, kCols}), target = random({kRows, kCols}, 2), dx = empty({kRows, kCols});
  const Tensor loss = floats({1}), labels = random_ints(s, {kRows}, 1, 0, int32_t(kCols));
  expect_traffic(kernels::Mse{.x = x.cref(), .target = target.cref(), .loss = loss.ref(), .dx = dx.ref()},
                 {.read = 4, .written = 4, .why = kPartial});
  const int64_t rows = kRows * 4;
  expect_traffic(
      kernels::SoftmaxCrossEntropy{
          .logits = x.cref(), .labels = labels.cref(), .loss = loss.ref(), .dlogits = dx.ref()},
      {.read = rows, .written = rows, .loads = 5, .why = "a row is read three times while it is in L1"});
  expect_traffic(kernels::CorrectCount{.logits = x.cref(), .labels = labels.cref(), .count = loss.ref()},
                 {.read = rows, .written = rows, .why = kPartial});
  const Tensor weights = floats({kRows});
  expect_traffic(
      kernels::Mse{
          .x = x.cref(), .target = target.cref(), .loss = loss.ref(), .dx = dx.ref(), .row_weights = weights.cref()},
      {.read = rows, .written = rows, .loads = 2, .why = kPartial});
  expect_traffic(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                              .labels = labels.cref(),
                                              .loss = loss.ref(),
                                              .dlogits = dx.ref(),
                                              .row_weights = weights.cref()},
                 {.read = rows, .written = rows, .loads = 6, .why = "the same"});
  const Tensor others = random_ints(s, {kRows}, 2, 0, int32_t(kCols));
  expect_traffic(kernels::SoftmaxCrossEntropy{.logits = x.cref(),
                                              .labels = labels.cref(),
                                              .loss = loss.ref(),
                                              .dlogits = dx.ref(),
                                              .labels2 = others.cref(),
                                              .share = weights.cref(),
                                              .smoothing = 0.1f},
                 {.read = rows, .written = rows, .loads = 7, .why = "the same"});
  const Tensor products = floats({kRows, kRows});
  expect_traffic(
      kernels::SupervisedContrastive{
          .products = products.cref(), .labels = labels.cref(), .loss = loss.ref(), .dproducts = products.ref()},
      {.read = kRows * kRows * 4 + 4 * rows,
       .written = 4 * rows,
       .loads = 9,
       .why =
           "losses, and three numbers a row; the gradient reads the labels and all products but the diagonal again"});
}

TEST_P(TrafficTest, BatchNorm) {
  const Tensor x = random({kRows, kCols}), dy = random({kRows, kCols}, 2), y = random({kRows, kCols}, 3);
  const Tensor gamma = floats({kCols}), beta = floats({kCols}, 2), mean = floats({kCols}, 3), var = floats({kCols}, 4);
  const Tensor stats = floats({4, kCols}), sums = floats({2, kCols}), dgamma = floats({kCols}), dbeta = floats({kCols});
  constexpr int64_t kVector = kCols * 4, kChunks = 2;
  const char* const constants = "each thread loads the constants of its channels";
  expect_traffic(kernels::BatchNormStatistics{.x = x.cref(),
                                              .gamma = gamma.cref(),
                                              .beta = beta.cref(),
                                              .stats = stats.ref(),
                                              .running_mean = mean.ref(),
                                              .running_var = var.ref()},
                 {.read = (2 * kChunks + 2) * kVector + kCols * size,
                  .written = 2 * kChunks * kVector,
                  .loads = 1.6,
                  .why = "partial moments, running statistics and, once more, the first row, which is the origin"});
  expect_traffic(kernels::BatchNormRunning{.gamma = gamma.cref(),
                                           .beta = beta.cref(),
                                           .running_mean = mean.cref(),
                                           .running_var = var.cref(),
                                           .stats = stats.ref()});
  expect_traffic(
      kernels::BatchNormApply{.x = x.cref(), .stats = stats.cref(), .residual = dy.cref(), .y = y.ref(), .relu = true},
      {.read = -kVector, .loads = 2.5, .why = constants});
  const Tensor bits = Tensor::empty(s, {packed_bytes(kRows * kCols)}, DType::kU8);
  expect_traffic(
      kernels::BatchNormApply{
          .x = x.cref(), .stats = stats.cref(), .residual = dy.cref(), .y = y.ref(), .bits = bits.ref(), .relu = true},
      {.read = -kVector, .loads = 4, .why = "each element loads the constants of its channel"});
  using enum kernels::BatchNormMask;
  expect_traffic(kernels::BatchNormGradSums{.x = x.cref(),
                                            .dy = dy.cref(),
                                            .bits = bits.cref(),
                                            .stats = stats.cref(),
                                            .sums = sums.ref(),
                                            .dresidual = y.ref(),
                                            .mask = kFromBits},
                 {.read = 2 * kChunks * kVector, .written = 2 * kChunks * kVector, .loads = 2.5, .why = constants});
  expect_traffic(kernels::BatchNormGradInput{.x = x.cref(),
                                             .dy = dy.cref(),
                                             .stats = stats.cref(),
                                             .gamma = gamma.cref(),
                                             .sums = sums.cref(),
                                             .dx = y.ref(),
                                             .mask = kFromInput},
                 {.loads = 3.5, .why = constants});
  expect_traffic(
      kernels::BatchNormGradParams{
          .sums = sums.cref(), .stats = stats.cref(), .dgamma = dgamma.ref(), .dbeta = dbeta.ref()},
      {.read = -3 * kVector, .why = "one row of the statistics is needed"});
}

constexpr int64_t kNoForecasts = int64_t(sizeof(ForecastScalars)) * kMaxForecasts;  // their factors are not read
class UpdateTrafficTest : public TrafficTest {};
INSTANTIATE_TEST_SUITE_P(Types, UpdateTrafficTest, testing::Values(DType::kF32),
                         [](const auto& of) { return name(of.param); });

TEST_P(UpdateTrafficTest, EachElementIsReadAndWrittenOnce) {
  const auto rows = awkward_segments(kCount, kMaxGroups);
  int64_t outside = kCount;
  for (const SegmentRow& r : rows) outside -= r.count;
  const Tensor table = segment_table(s, rows), slot = scalar_slot(s, awkward_scalars());
  const Tensor flag = Tensor::from<int32_t>(s, std::vector<int32_t>{1}, {1});
  const Tensor w = floats({kCount}), g = floats({kCount}, 2), m = floats({kCount}, 3);
  const Tensor v = test::random(s, {kCount}, 4, 0, 1), view = test::random(s, {kCount}, 5, 0, 1, DType::kBF16);
  const char* const why = "threads search the table and load scalars; gaps between segments are left alone";
  expect_traffic(kernels::Adam{.w = w.ref(),
                               .g = g.cref(),
                               .m = m.ref(),
                               .v = v.ref(),
                               .view = view.ref(),
                               .segments = table.cref(),
                               .scalars = slot.cref(),
                               .finite = flag.cref()},
                 {.read = -outside * 16 - kNoForecasts, .written = -outside * 14, .loads = 4, .why = why});
  expect_traffic(kernels::Sgd{.w = w.ref(),
                              .g = g.cref(),
                              .buffer = m.ref(),
                              .view = view.ref(),
                              .segments = table.cref(),
                              .scalars = slot.cref(),
                              .finite = flag.cref()},
                 {.read = -outside * 12 - 8 - kNoForecasts,
                  .written = -outside * 10,
                  .loads = 4,
                  .why = "the same; SGD has no bias corrections, two floats of the scalars"});
  expect_traffic(kernels::SetStepScalars{.slot = slot.ref(), .values = {}});
  const Tensor losses = Tensor::from<float>(s, std::vector<float>(500, INFINITY), {500});
  expect_traffic(kernels::FlagNonFinite{.losses = losses.cref(), .finite = flag.ref()});
}

/// What PipeOptim's forecasts cost beside their update: 3 reads and 3 writes a weight for SGD with momentum, 4 and 4
/// for Adam. Without one it is a write less, and new weights in other memory cost nothing.
TEST_P(UpdateTrafficTest, AForecastIsOneWriteMore) {
  const Tensor table = segment_table(s, {{0, kCount - 4, 0}, {kCount - 4, 4, 1}});
  StepScalars scalars = awkward_scalars();
  for (ForecastScalars& f : scalars.forecasts) f = {.keep = {1, 1}, .reach = {0.5f, 0.25f}};
  const Tensor slot = scalar_slot(s, scalars), flag = Tensor::from<int32_t>(s, std::vector<int32_t>{1}, {1});
  const Tensor w = floats({kCount}), g = floats({kCount}, 2), m = floats({kCount}, 3), next = floats({kCount}, 4);
  const Tensor v = test::random(s, {kCount}, 5, 0, 1), first = floats({kCount}), second = floats({kCount});
  const int64_t small = table.bytes() + slot.bytes() + flag.bytes();
  const int64_t groups = (kMaxGroups - 2) * 4;  // floats of groups that no segment is in
  const char* const why = "threads search the table and load scalars, of two groups";
  kernels::Sgd sgd{.w = w.ref(),
                   .g = g.cref(),
                   .buffer = m.ref(),
                   .view = {},
                   .segments = table.cref(),
                   .scalars = slot.cref(),
                   .finite = flag.cref(),
                   .momentum = 0.9f};
  kernels::Adam adam{.w = w.ref(),
                     .g = g.cref(),
                     .m = m.ref(),
                     .v = v.ref(),
                     .view = {},
                     .segments = table.cref(),
                     .scalars = slot.cref(),
                     .finite = flag.cref()};
  kernels::Rmsprop rmsprop{.w = w.ref(),
                           .g = g.cref(),
                           .v = v.ref(),
                           .view = {},
                           .segments = table.cref(),
                           .scalars = slot.cref(),
                           .finite = flag.cref(),
                           .last = m.ref()};
  for (const Ref& to : {Ref{}, next.ref()}) {
    sgd.next = adam.next = rmsprop.next = to;
    for (int count = 0; count <= kMaxForecasts; ++count) {
      for (int k = 0; k < count; ++k) {
        sgd.forecasts[k] = {(k == 0 ? first : second).ref(), {.kind = Direction::kNextMomentum}};
        adam.forecasts[k] = {(k == 0 ? first : second).ref(), {.kind = Direction::kAdaptive}};
        rmsprop.forecasts[k] = adam.forecasts[k];
      }
      for (int k = count; k < kMaxForecasts; ++k) sgd.forecasts[k] = adam.forecasts[k] = rmsprop.forecasts[k] = {};
      EXPECT_EQ(sgd.cost().bytes(), (20 + 4 * count) * kCount + small);
      EXPECT_EQ(adam.cost().bytes(), (28 + 4 * count) * kCount + small);
      EXPECT_EQ(rmsprop.cost().bytes(), (24 + 4 * count) * kCount + small);
      const int64_t unread = groups * 2 * (1 + count) + (kMaxForecasts - count) * int64_t(sizeof(ForecastScalars));
      expect_traffic(adam, {.read = -unread, .loads = 4, .why = why});
      expect_traffic(rmsprop, {.read = -unread - (count == 0 ? 8 : 0), .loads = 4, .why = why});
      expect_traffic(sgd, {.read = -unread - 8, .loads = 4, .why = "the same; SGD has no bias corrections"});
    }
  }
}

TEST_P(UpdateTrafficTest, AForecastBetweenUpdatesReadsWhatItTakes) {
  const Tensor table = segment_table(s, {{0, kCount, 0}}), slot = scalar_slot(s, awkward_scalars());
  const Tensor w = floats({kCount}), m = floats({kCount}, 2), v = test::random(s, {kCount}, 3, 0, 1);
  const Tensor to = floats({kCount});
  const int64_t small = table.bytes() + slot.bytes();
  const auto expect = [&](Direction kind, int64_t bytes, int64_t scalars) {
    const kernels::Forecast call{.w = w.cref(),
                                 .m = m.cref(),
                                 .v = v.cref(),
                                 .to = to.ref(),
                                 .segments = table.cref(),
                                 .scalars = slot.cref(),
                                 .direction = {.kind = kind}};
    EXPECT_EQ(call.cost().bytes(), bytes * kCount + small);
    expect_traffic(call, {.read = scalars - slot.bytes(), .loads = 4, .why = "one group's scalars"});
  };
  expect(Direction::kNone, 8, 0);
  expect(Direction::kMomentum, 12, 8);
  expect(Direction::kNextMomentum, 16, 8);
  expect(Direction::kAdaptive, 16, 16);
}

TEST_P(TrafficTest, Products) {
  const Tensor x = random({33, 40}), w = random({20, 40}, 2), y = random({33, 20}, 3), dx = empty({33, 40});
  const Tensor bias = floats({20}), dw = floats({20, 40}), db = floats({20});
  const bool fused = type == DType::kF32;  // cuBLASLt has no f32 bias of bf16
  const int64_t pass = fused ? 0 : 33 * 20 * size;
  expect_traffic(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = bias.cref(), .y = y.ref(), .act = Act::kRelu},
                 {.read = pass, .written = pass, .loads = 1.6, .why = "bias and activation have a pass of their own"});
  expect_traffic(kernels::MatmulGradInput{.dz = y.cref(), .w = w.cref(), .dx = dx.ref()});
  launch(kernels::FillConstant{.y = dx.ref(), .value = 1}, s);
  expect_traffic(kernels::Matmul{.x = x.cref(), .w = w.cref(), .bias = {}, .y = y.ref(), .accumulate = true});
  expect_traffic(kernels::MatmulGradInput{.dz = y.cref(), .w = w.cref(), .dx = dx.ref(), .accumulate = true});
  expect_traffic(
      kernels::MatmulGradWeight{.x = x.cref(), .dz = y.cref(), .dw = dw.ref(), .db = db.ref(), .accumulate_w = true},
      {.read = 33 * 20 * size + 20 * 4, .written = 20 * 4, .why = "db is a pass over dz, in two steps"});
}

TEST_P(TrafficTest, Convolutions) {
  const Tensor x = random({2, 6, 5, 8}), w = random({12, 3, 3, 8}, 2), y = random({2, 6, 5, 12}, 3);
  const Tensor dx = empty(x.shape()), bias = floats({12}), dw = floats(w.shape()), db = floats({12});
  const kernels::Conv2dGeometry g{.stride = 1, .padding = 1};
  const int64_t out = y.numel() * size, filters = w.numel() * size;
  expect_traffic(kernels::Conv2d{.x = x.cref(), .w = w.cref(), .bias = bias.cref(), .y = y.ref(), .geometry = g},
                 {.read = out, .written = out, .loads = 1.8, .why = "bias has a pass of its own"});
  expect_traffic(kernels::Conv2dGradInput{.dy = y.cref(), .w = w.cref(), .dx = dx.ref(), .geometry = g});
  const int64_t widened = type == DType::kF32 ? 0 : filters;
  expect_traffic(
      kernels::Conv2dGradWeight{.x = x.cref(), .dy = y.cref(), .dw = dw.ref(), .db = db.ref(), .geometry = g},
      {.read = out + 12 * 4 + widened,
       .written = 12 * 4 + widened,
       .why = "db is a pass over dy, in two steps; dw is widened to f32"});
}

}  // namespace
}  // namespace sluice::test
