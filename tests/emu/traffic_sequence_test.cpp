// The traffic of kernels over sequences and ids: equal to their cost(), or off by what is said here, with the reason.
#include "kernels/add_positions.h"
#include "kernels/attention.h"
#include "kernels/class_weights.h"
#include "kernels/concat.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/lstm_cell.h"
#include "kernels/masked_mean.h"
#include "kernels/positional_encoding.h"
#include "kernels/slice_tokens.h"
#include "kernels/swap_axes.h"
#include "kernels/token_mask.h"
#include "kernels/transpose_ids.h"
#include "kernels/transpose_tokens.h"
#include "tests/emu/traffic.h"

namespace sluice::test {
namespace {

using SequenceTrafficTest = Traffic;
INSTANTIATE_TEST_SUITE_P(Types, SequenceTrafficTest, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& of) { return name(of.param); });

constexpr int64_t kRows = 130, kCols = 36, kCount = kRows * kCols;

TEST_P(SequenceTrafficTest, Ids) {
  const Tensor ids = random_ints(s, {kRows, kCols}, 1, 0, 3), turned = Tensor::empty(s, {kCols, kRows}, DType::kI32);
  const Tensor mask = Tensor::empty(s, {kRows, kCols}, DType::kU8), labels = random_ints(s, {kRows}, 1, 0, 7);
  expect_traffic(kernels::TokenMask{.ids = ids.cref(), .mask = mask.ref()});
  expect_traffic(kernels::TransposeIds{.x = ids.cref(), .y = turned.ref()});
  expect_traffic(kernels::ClassWeights{.labels = labels.cref(), .weights = floats({7}).ref()},
                 {.loads = 7, .why = "each class goes through the labels"});
}

TEST_P(SequenceTrafficTest, MeansOverTime) {
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

TEST_P(SequenceTrafficTest, Columns) {
  constexpr int64_t kPixels = 61;
  for (const int64_t last : {32, 7}) {  // in packs, and one by one
    const Tensor a = random({kPixels, 64}), b = random({kPixels, 64}, 2), c = random({kPixels, last}, 3);
    const Tensor y = empty({kPixels, 128 + last});
    kernels::Concat call{.parts = {}, .y = y.ref()};
    kernels::ConcatGrad back{.dy = y.cref(), .dparts = {}};
    for (const Tensor& part : {a, b, c}) {
      call.parts.push_back(part.cref());
      back.dparts.push_back(part.ref());
    }
    expect_traffic(call);
    expect_traffic(back);
  }
}

TEST_P(SequenceTrafficTest, TokensOfImages) {
  constexpr int64_t kSamples = 6, kLength = 19;
  const Tensor x = random({kSamples, kLength, kCols}), turned = empty({kSamples, kCols, kLength});
  const Tensor y = random({kSamples, kLength + 1, kCols}, 2), positions = floats({kLength + 1, kCols}, 3);
  const Tensor token = floats({kCols}, 4);
  expect_traffic(kernels::SwapAxes{.x = x.cref(), .y = empty({kLength, kSamples, kCols}).ref()});
  expect_traffic(kernels::TransposeTokens{.x = x.cref(), .y = turned.ref()});
  expect_traffic(kernels::TransposeTokens{.x = x.cref(), .residual = turned.cref(), .y = turned.ref()});
  expect_traffic(kernels::SliceTokens{.x = y.cref(), .y = x.ref(), .first = 1});
  expect_traffic(kernels::SliceTokensGrad{.dy = x.cref(), .dx = y.ref(), .first = 1});
  expect_traffic(
      kernels::AddPositions{.x = x.cref(), .token = token.cref(), .positions = positions.cref(), .y = y.ref()},
      {.loads = 3, .why = "every sample loads the positions"});
  constexpr int64_t kSums = (kLength + 1) * kCols * 4;
  expect_traffic(kernels::AddPositionsGrad{.dy = y.cref(), .dpositions = positions.ref(), .dtoken = token.ref()},
                 {.read = 2 * kSums, .written = 2 * kSums, .why = "sums of a block of samples, and then of all"});
}

TEST_P(SequenceTrafficTest, Embeddings) {
  constexpr int64_t kIds = 400, kWindows = 3, kKeys = kIds * 8, kRow = kCols * 4;
  std::vector<int32_t> some(size_t(kIds), 5);  // one common id: three windows of 64 are summed ahead
  for (int32_t v = 0; v < kRows; ++v) some[size_t(3 * v)] = v;
  const Tensor ids = Tensor::from<int32_t>(s, some, {kIds}), table = floats({kRows, kCols});
  const Tensor y = empty({kIds, kCols}), dy = random({kIds, kCols}, 2);
  expect_traffic(kernels::Embedding{.ids = ids.cref(), .table = table.cref(), .y = y.ref()},
                 {.loads = 6, .why = "each lane loads the id; a row is read as often as it is named"});
  const Tensor m = floats({kRows, kCols}, 3), v = test::random(s, {kRows, kCols}, 4, 0, 1);
  const Tensor scalars = Tensor::from<uint8_t>(s, std::vector<uint8_t>(sizeof(StepScalars), 1), kStepScalarsShape);
  const int64_t unread = scalars.bytes() - 8;  // but two factors of the group
  kernels::Embedding foretold{.ids = ids.cref(),
                              .table = table.cref(),
                              .y = y.ref(),
                              .direction = {.kind = Direction::kMomentum},
                              .m = m.cref(),
                              .scalars = scalars.cref()};
  EXPECT_EQ(foretold.cost().bytes(), ids.bytes() + 2 * table.bytes() + y.bytes() + scalars.bytes());
  expect_traffic(foretold, {.read = -unread, .loads = 7, .why = "the same; threads load the factors"});
  foretold.direction.kind = Direction::kAdaptive;
  foretold.v = v.cref();
  expect_traffic(foretold, {.read = 8 - unread, .loads = 8, .why = "the same, and bias corrections"});
  const Tensor few = Tensor::from<int32_t>(s, std::vector<int32_t>{7, 9, 7}, {3}), rows = empty({3, kCols});
  foretold.ids = few.cref();
  foretold.y = rows.ref();
  expect_traffic(foretold, {.read = 8 - unread - 3 * kRow, .loads = 300, .why = "three ids of two rows"});
  // The second pass reads the keys, and so do the rows, but not those of the windows, which read them instead; three
  // windows of more than one id read their first and their last key, and the rows' searches meet three keys inside the
  // others.
  expect_traffic(kernels::EmbeddingGrad{.ids = ids.cref(), .dy = dy.cref(), .dtable = table.ref()},
                 {.read = 2 * kKeys + kWindows * kRow + 9 * 8,
                  .written = 2 * kKeys + kWindows * kRow,
                  .loads = 3,
                  .why = "keys are sorted in two passes; lanes load a place's key, searches load keys"});
}

TEST_P(SequenceTrafficTest, LstmCell) {
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

TEST_P(SequenceTrafficTest, LayerNorm) {
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

TEST_P(SequenceTrafficTest, Attention) {
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

TEST_P(SequenceTrafficTest, AttentionOverAnotherSequence) {
  constexpr int64_t kSamples = 2, kQueries = 20, kKeys = 40, kHeads = 2, kWidth = 12;
  const Tensor q = random({kSamples, kQueries, kWidth}), kv = random({kSamples, kKeys, 2 * kWidth}, 2);
  const Tensor y = random(q.shape(), 3), dy = random(q.shape(), 4), lse = floats({kSamples, kHeads, kQueries}, 5);
  const Tensor dq = empty(q.shape()), dkv = empty(kv.shape());
  const kernels::AttentionSettings settings{.heads = kHeads, .key = {1, 2}};
  constexpr int64_t kNumbers = kSamples * kQueries * kHeads * 4;
  expect_traffic(
      kernels::Attention{.qkv = q.cref(), .kv = kv.cref(), .y = y.ref(), .lse = lse.ref(), .settings = settings},
      {.loads = 3, .why = "Q once for each block of keys"});
  expect_traffic(kernels::AttentionGrad{.qkv = q.cref(),
                                        .kv = kv.cref(),
                                        .y = y.cref(),
                                        .lse = lse.cref(),
                                        .dy = dy.cref(),
                                        .dqkv = dq.ref(),
                                        .dkv = dkv.ref(),
                                        .settings = settings},
                 {.read = q.bytes() + kv.bytes() + 2 * dy.bytes() + lse.bytes() + 2 * kNumbers,
                  .written = kNumbers,
                  .loads = 8,
                  .why = "dQ has a pass of its own, dK and dV another; a number a row goes through the workspace"});
}

TEST_P(SequenceTrafficTest, AttentionOverEarlierPositions) {
  constexpr int64_t kSamples = 2, kLength = 40, kHeads = 2, kWidth = 12;
  const Tensor qkv = random({kSamples, kLength, 3 * kWidth}), y = empty({kSamples, kLength, kWidth});
  expect_traffic(
      kernels::Attention{.qkv = qkv.cref(), .y = y.ref(), .settings = {.heads = kHeads, .key = {1, 2}, .causal = true}},
      {.loads = 3, .why = "each block of 32 queries reads the K and V before its end"});
}

TEST_P(SequenceTrafficTest, PositionalEncoding) {
  const Tensor x = random({3, 5, 14}), y = empty(x.shape());
  for (const bool positions : {true, false})
    expect_traffic(kernels::PositionalEncoding{.x = x.cref(), .y = y.ref(), .scale = 2, .positions = positions});
}

}  // namespace
}  // namespace sluice::test
