// The bytes that each call really moves on a GPU against those that its cost() claims: equal, or off by what a table
// here says, with the reason.
#include "emu/emu.h"
#include "kernels/activation.h"
#include "kernels/adam.h"
#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/avg_pool.h"
#include "kernels/batch_norm.h"
#include "kernels/check_finite.h"
#include "kernels/class_weights.h"
#include "kernels/conv2d.h"
#include "kernels/convert.h"
#include "kernels/correct_count.h"
#include "kernels/dropout.h"
#include "kernels/dropout_add.h"
#include "kernels/embedding.h"
#include "kernels/fill.h"
#include "kernels/iota.h"
#include "kernels/layer_norm.h"
#include "kernels/log_softmax.h"
#include "kernels/lstm_cell.h"
#include "kernels/masked_mean.h"
#include "kernels/matmul.h"
#include "kernels/max_pool.h"
#include "kernels/mse.h"
#include "kernels/one_hot.h"
#include "kernels/row_normalise.h"
#include "kernels/scale.h"
#include "kernels/select_rows.h"
#include "kernels/sgd.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/supervised_contrastive.h"
#include "kernels/token_mask.h"
#include "kernels/transpose_ids.h"
#include "tests/kernels/update_case.h"

namespace sluice::test {
namespace {

/// What a call moves beyond its cost, in bytes, and how often it loads a byte that it reads, on average at most.
struct Halo {
  int64_t read = 0, written = 0;
  double loads = 1;
  const char* why = "";
};

class TrafficTest : public testing::TestWithParam<DType> {
 protected:
  template <class K>
  void expect_traffic(const K& call, const Halo& halo = {}) {
    s.sync();
    emu::reset_traffic();
    launch(call, s);
    s.sync();
    const emu::Traffic moved = emu::traffic(), scratch = emu::traffic(" workspace");  // a library's own affair
    const Cost cost = call.cost();
    SCOPED_TRACE(str(K::kName, "; ", halo.why));
    EXPECT_EQ(moved.read, cost.read + halo.read);
    EXPECT_EQ(moved.written - scratch.written, cost.written + halo.written);
    EXPECT_LE(double(moved.loads), halo.loads * double(moved.read));
    EXPECT_EQ(moved.stores, moved.written) << "a byte was stored twice";
  }
  Tensor random(Shape shape, uint64_t seed = 1) const { return test::random(s, shape, seed, -1, 1, type); }
  Tensor floats(Shape shape, uint64_t seed = 1) const { return test::random(s, shape, seed); }
  Tensor empty(Shape shape) const { return Tensor::empty(s, shape, type); }

  const DType type = GetParam();
  const int64_t size = size_of(type);
  const Stream s{Device{DeviceKind::kCuda, 0}};
};
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

TEST_P(TrafficTest, Ids) {
  const Tensor ids = random_ints(s, {kRows, kCols}, 1, 0, 3), turned = Tensor::empty(s, {kCols, kRows}, DType::kI32);
  const Tensor mask = Tensor::empty(s, {kRows, kCols}, DType::kU8), labels = random_ints(s, {kRows}, 1, 0, 7);
  expect_traffic(kernels::TokenMask{.ids = ids.cref(), .mask = mask.ref()});
  expect_traffic(kernels::TransposeIds{.x = ids.cref(), .y = turned.ref()});
  expect_traffic(kernels::ClassWeights{.labels = labels.cref(), .weights = floats({7}).ref()},
                 {.loads = 7, .why = "each class goes through the labels"});
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

TEST_P(TrafficTest, MeansOverTime) {
  const Tensor x = random({6, 19, kCols}), y = random({6, kCols}, 2), share = floats({6}), dx = empty({6, 19, kCols});
  std::vector<uint8_t> keep(size_t(6 * 19), 1);
  for (size_t i = 0; i < 40; ++i) keep[i] = 0;
  const Tensor mask = Tensor::from<uint8_t>(s, keep, {6, 19});
  expect_traffic(kernels::MaskedMean{.x = x.cref(), .mask = mask.cref(), .y = y.ref(), .share = share.ref()},
                 {.read = -40 * kCols * size, .loads = 1.7, .why = "what the mask hides is not read"});
  expect_traffic(
      kernels::MaskedMeanGrad{.dy = y.cref(), .mask = mask.cref(), .share = share.cref(), .dx = dx.ref()},
      {.read = -2 * (kCols * size + 4), .loads = 60, .why = "two samples have no tokens; each row loads the mean's"});
}

TEST_P(TrafficTest, DropoutReadsWhatItKeeps) {
  const Tensor x = random({kRows, kCols}), y = empty({kRows, kCols});
  launch(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}}, s);
  int64_t kept = 0;
  for (const double v : to_double(s, y)) kept += v != 0 ? 1 : 0;
  expect_traffic(kernels::Dropout{.x = x.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}},
                 {.read = (kept - kCount) * size, .why = "what falls is not read"});
  const Tensor r = random({kRows, kCols}, 2);
  expect_traffic(kernels::DropoutAdd{.x = x.cref(), .residual = r.cref(), .y = y.ref(), .p = 0.5f, .key = {1, 2}},
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

TEST_P(TrafficTest, Embeddings) {
  constexpr int64_t kIds = 400, kWindows = 3, kKeys = kIds * 8, kRow = kCols * 4;
  std::vector<int32_t> some(size_t(kIds), 5);  // one common id: three windows of 64 are summed ahead
  for (int32_t v = 0; v < kRows; ++v) some[size_t(3 * v)] = v;
  const Tensor ids = Tensor::from<int32_t>(s, some, {kIds}), table = floats({kRows, kCols});
  const Tensor y = empty({kIds, kCols}), dy = random({kIds, kCols}, 2);
  expect_traffic(kernels::Embedding{.ids = ids.cref(), .table = table.cref(), .y = y.ref()},
                 {.loads = 6, .why = "each lane loads the id; a row is read as often as it is named"});
  // The second pass reads the keys, and so do the rows, but not those of the windows, which read them instead; three
  // windows of more than one id read their first and their last key, and the rows' searches meet three keys inside the
  // others.
  expect_traffic(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = table.ref()},
                 {.read = 2 * kKeys + kWindows * kRow + 9 * 8,
                  .written = 2 * kKeys + kWindows * kRow,
                  .loads = 3,
                  .why = "keys are sorted in two passes; lanes load a place's key, searches load keys"});
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
  using enum kernels::BatchNormMask;
  expect_traffic(kernels::BatchNormGradSums{.x = x.cref(),
                                            .dy = dy.cref(),
                                            .y = y.cref(),
                                            .stats = stats.cref(),
                                            .sums = sums.ref(),
                                            .dresidual = x.ref(),
                                            .mask = kFromOutput},
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

TEST_P(TrafficTest, LstmCell) {
  constexpr int64_t kHidden = kCols;
  const Tensor gates = random({kRows, 4 * kHidden}), before = floats({kRows, kHidden}), c = floats({kRows, kHidden}, 2);
  const Tensor h = random({kRows, kHidden}, 3), y = random({kRows, 2 * kHidden}, 4), dc = floats({kRows, kHidden}, 5);
  std::vector<uint8_t> bits(size_t(kRows), 1);
  kernels::LstmCell forward{
      .gates = gates.ref(), .c_previous = before.cref(), .c = c.ref(), .h = h.ref(), .y = y.ref(), .column = kHidden};
  kernels::LstmCellGrad backward{.gates = gates.ref(),
                                 .c = c.cref(),
                                 .c_previous = before.cref(),
                                 .dy = y.cref(),
                                 .dh = h.ref(),
                                 .dc = dc.ref(),
                                 .column = kHidden};
  expect_traffic(forward);
  expect_traffic(backward);
  bits[3] = bits[70] = 0;
  const Tensor mask = Tensor::from<uint8_t>(s, bits, {kRows});
  forward.mask = backward.mask = mask.cref();
  forward.h_previous = h.cref();
  const int64_t padded = 2 * kHidden;
  const char* const why = "padding leaves its gates, or its states, alone; threads of a sample load its mask";
  expect_traffic(forward, {.read = -padded * 3 * size, .written = -padded * 4 * size, .loads = 1.1, .why = why});
  expect_traffic(backward,
                 {.read = -padded * (6 * size + 12), .written = -padded * (size + 4), .loads = 1.1, .why = why});
}

TEST_P(TrafficTest, LayerNorm) {
  const Tensor x = random({kRows, kCols}), dy = random({kRows, kCols}, 2), y = empty({kRows, kCols});
  const Tensor gamma = floats({kCols}), beta = floats({kCols}, 2), stats = floats({kRows, 2}, 3);
  const Tensor sums = floats({2, kCols}), dgamma = floats({kCols}), dbeta = floats({kCols});
  constexpr int64_t kVector = kCols * 4, kChunks = 2;
  expect_traffic(
      kernels::LayerNorm{.x = x.cref(), .gamma = gamma.cref(), .beta = beta.cref(), .y = y.ref(), .stats = stats.ref()},
      {.loads = 8, .why = "a row is read three times while it is in L1, and each row loads gamma and beta"});
  expect_traffic(kernels::LayerNormGrad{.x = x.cref(),
                                        .dy = dy.cref(),
                                        .gamma = gamma.cref(),
                                        .stats = stats.cref(),
                                        .dx = y.ref(),
                                        .sums = sums.ref()},
                 {.read = 2 * kChunks * kVector + 2 * kCount * size + kRows * 8,
                  .written = 2 * kChunks * kVector,
                  .loads = 14,
                  .why = "dx and the column sums are a pass each over x, dy and stats; partial sums"});
  expect_traffic(kernels::LayerNormGradParams{
      .sums = sums.cref(), .dgamma = dgamma.ref(), .dbeta = dbeta.ref(), .accumulate_beta = true});
}

TEST_P(TrafficTest, Attention) {
  constexpr int64_t kSamples = 2, kLength = 40, kHeads = 2, kWidth = 12;
  const Tensor qkv = random({kSamples, kLength, 3 * kWidth}), y = random({kSamples, kLength, kWidth}, 2);
  const Tensor dy = random({kSamples, kLength, kWidth}, 3), lse = floats({kSamples, kHeads, kLength}, 4);
  const Tensor dqkv = empty(qkv.shape());
  const Tensor mask = Tensor::from<uint8_t>(s, std::vector<uint8_t>(kSamples * kLength, 1), {kSamples, kLength});
  constexpr int64_t kNumbers = kSamples * kLength * kHeads * 4;
  const kernels::AttentionSettings settings{.heads = kHeads, .p = 0.3f, .key = {1, 2}};
  expect_traffic(kernels::AttentionGrad{.qkv = qkv.cref(),
                                        .mask = mask.cref(),
                                        .y = y.cref(),
                                        .lse = lse.cref(),
                                        .dy = dy.cref(),
                                        .dqkv = dqkv.ref(),
                                        .settings = settings},
                 {.read = qkv.bytes() + 2 * dy.bytes() + mask.bytes() + lse.bytes() + 2 * kNumbers,
                  .written = kNumbers,
                  .loads = 8,
                  .why = "dQ has a pass of its own, dK and dV another; a number a row goes through the workspace"});
  expect_traffic(
      kernels::Attention{.qkv = qkv.cref(), .mask = mask.cref(), .y = y.ref(), .lse = lse.ref(), .settings = settings},
      {.loads = 3, .why = "each block of 32 queries reads K and V, and Q once for each block of keys"});
}

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
                 {.read = -outside * 16, .written = -outside * 14, .loads = 4, .why = why});
  expect_traffic(kernels::Sgd{.w = w.ref(),
                              .g = g.cref(),
                              .buffer = m.ref(),
                              .view = view.ref(),
                              .segments = table.cref(),
                              .scalars = slot.cref(),
                              .finite = flag.cref()},
                 {.read = -outside * 12 - 8,
                  .written = -outside * 10,
                  .loads = 4,
                  .why = "the same; SGD has no bias corrections, two floats of the scalars"});
  expect_traffic(kernels::SetStepScalars{.slot = slot.ref(), .values = {}});
  const Tensor losses = Tensor::from<float>(s, std::vector<float>(500, INFINITY), {500});
  expect_traffic(kernels::FlagNonFinite{.losses = losses.cref(), .finite = flag.ref()});
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
