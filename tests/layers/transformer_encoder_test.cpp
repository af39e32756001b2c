// An encoder block: parameters and their start, the formula in double, what positions and masks may and may not change.
#include "layers/transformer_encoder.h"

#include <cmath>

#include "tests/layers/formula.h"

namespace sluice::test::transformer_encoder_test {
namespace {

using TransformerEncoderTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TransformerEncoderTest, testing::ValuesIn(test_devices()), device_label);

constexpr int64_t kSamples = 2, kLength = 5, kWidth = 6, kInner = 7;
constexpr int kHeads = 2;
constexpr TransformerLayerConfig kSmall{.width = kWidth, .heads = kHeads, .inner = kInner, .dropout = 0.3f};

/// A small block with weights of its own.
struct Block {
  explicit Block(Device device, const TransformerLayerConfig& config = kSmall)
      : layer(init.scope("block"), config), run(Stream(device), init) {}
  Values operator()(const Tensor& x, const Tensor& mask, bool training = false) {
    Ctx c{.stream = run.stream,
          .weights = run.arena.weights(),
          .arena = run.arena,
          .ledger = run.ledger,
          .rng = {.seed = 7},
          .training = training};
    return to_double(run.stream, layer.forward(c, {x}, mask).value);
  }
  Tensor input(uint64_t seed = 1) const { return random(run.stream, {kSamples, kLength, kWidth}, seed); }
  Tensor mask(const std::vector<uint8_t>& m) const { return Tensor::from<uint8_t>(run.stream, m, {kSamples, kLength}); }

  Init init;
  TransformerEncoder layer;
  LayerRun run;
};

const std::vector<uint8_t> kSomeKeys{1, 1, 1, 0, 0, 1, 0, 1, 1, 0}, kOneEmpty{1, 1, 1, 0, 0, 0, 0, 0, 0, 0};

TEST(TransformerEncoder, HasThePublishedCountOfParameters) {
  Init init;
  const TransformerEncoder block(init.scope("f"), {.width = 300, .heads = 6, .inner = 256});
  int64_t count = 0;
  for (const ParamSpec& p : init.params()) count += p.shape.numel();
  // Four projections with bias, the feed-forward pair with bias, three norms of two vectors.
  EXPECT_EQ(count, 4 * (300 * 300 + 300) + (300 * 256 + 256) + (256 * 300 + 300) + 3 * 2 * 300);
  EXPECT_EQ(count, 517156);
  EXPECT_THAT(declared(init), testing::Contains("f.qkv.weight [900, 300]"));
  Init without;
  const TransformerEncoder bare(without.scope("f"), {.final_norm = false});
  EXPECT_EQ(without.params().size() + 2, init.params().size());
}

TEST(TransformerEncoder, RefusesWidthsThatDoNotSplitAndBadProbabilities) {
  EXPECT_THROW(TransformerEncoder(Init().scope("f"), {.width = 300, .heads = 7}), ShapeError);
  EXPECT_THROW(TransformerEncoder(Init().scope("f"), {.heads = 0}), ShapeError);
  EXPECT_THROW(TransformerEncoder(Init().scope("f"), {.dropout = 1.0f}), ConfigError);
}

TEST_P(TransformerEncoderTest, ProjectionsStartXavierUniformWithClonedBiases) {
  Block b(device(), {.width = 60, .heads = 6, .inner = 40});
  const auto largest = [](const Values& v) {
    double most = 0;
    for (const double x : v) most = std::max(most, std::abs(x));
    return most;
  };
  const double square = std::sqrt(6.0 / 120), inner = std::sqrt(6.0 / 100);
  for (const auto& [path, most] :
       {std::pair<std::string, double>{"qkv", square}, {"out", square}, {"widen", inner}, {"narrow", inner}}) {
    const double got = largest(b.run.values("block." + path + ".weight"));
    EXPECT_LE(got, most * (1 + 1e-6)) << path;
    EXPECT_GT(got, most * 0.99) << path;
  }
  const Values packed = b.run.values("block.qkv.bias"), out = b.run.values("block.out.bias");
  ASSERT_EQ(packed.size(), 180u);
  EXPECT_LE(largest(out), 1 / std::sqrt(60.0) * (1 + 1e-6));
  EXPECT_GT(largest(out), 0.9 / std::sqrt(60.0));
  for (size_t i = 0; i < packed.size(); ++i) EXPECT_EQ(packed[i], out[i % 60]) << i;
  const Values weight = b.run.values("block.qkv.weight");
  EXPECT_NE(weight[0], weight[60 * 60]);  // Q, K and V do not start as clones of each other
}

// ---- the formula ----

/// Of a part of the block.
Weights64 part(Block& from, const std::string& name) { return {from.run, "block." + name}; }
Values normed(Block& from, const std::string& name, const Values& x) { return part(from, name).norm(x, true); }

Values attended(const Values& qkv, const std::vector<uint8_t>& mask) {
  const auto at = [&](int64_t b, int64_t t, int64_t part, int64_t j) {
    return qkv[size_t((b * kLength + t) * 3 * kWidth + part * kWidth + j)];
  };
  constexpr int64_t kCols = kWidth / kHeads;
  Values y(size_t(kSamples * kLength * kWidth));
  for (int64_t b = 0; b < kSamples; ++b)
    for (int64_t q = 0; q < kLength; ++q)
      for (int64_t h = 0; h < kHeads; ++h) {
        Values e(size_t(kLength), 0.0);
        double sum = 0, top = -1e300;
        for (int64_t k = 0; k < kLength; ++k) {
          double& score = e[size_t(k)];
          for (int64_t j = h * kCols; j < (h + 1) * kCols; ++j)
            score += at(b, q, 0, j) * at(b, k, 1, j) / std::sqrt(double(kCols));
          if (mask[size_t(b * kLength + k)] == 0) score = -1e9;
          top = std::max(top, score);
        }
        for (double& v : e) sum += v = std::exp(v - top);
        for (int64_t j = h * kCols; j < (h + 1) * kCols; ++j)
          for (int64_t k = 0; k < kLength; ++k)
            y[size_t((b * kLength + q) * kWidth + j)] += e[size_t(k)] / sum * at(b, k, 2, j);
      }
  return y;
}

TEST_P(TransformerEncoderTest, EvaluationFollowsTheFormula) {
  Block b(device());
  for (const auto& mask : {kSomeKeys, kOneEmpty}) {
    const Tensor x = b.input();
    const Values in = to_double(b.run.stream, x);
    const Values heads = attended(part(b, "qkv").linear(normed(b, "attention_norm", in)), mask);
    const Values y = sum_of(in, part(b, "out").linear(heads));
    const Values wide = relu(part(b, "widen").linear(normed(b, "inner_norm", y)));
    const Values z = sum_of(y, part(b, "narrow").linear(wide));
    expect_close(b(x, b.mask(mask)), normed(b, "final_norm", z), bound(DType::kF32));
  }
}

TEST_P(TransformerEncoderTest, PermutedPositionsGivePermutedOutputs) {
  Block b(device());
  const Tensor x = b.input();
  const std::vector<float> in = x.to_vector<float>(b.run.stream);
  const size_t order[kLength] = {3, 0, 4, 1, 2};
  std::vector<float> permuted(in.size());
  std::vector<uint8_t> mask(kSomeKeys.size());
  const auto place = [&](size_t row) { return row / kLength * kLength + order[row % kLength]; };
  for (size_t row = 0; row < mask.size(); ++row) {
    mask[row] = kSomeKeys[place(row)];
    std::copy_n(in.begin() + int64_t(place(row)) * kWidth, kWidth, permuted.begin() + int64_t(row) * kWidth);
  }
  const Values straight = b(x, b.mask(kSomeKeys));
  const Values got = b(Tensor::from<float>(b.run.stream, permuted, x.shape()), b.mask(mask));
  Values expected(got.size());
  for (size_t row = 0; row < mask.size(); ++row)
    std::copy_n(straight.begin() + int64_t(place(row)) * kWidth, kWidth, expected.begin() + int64_t(row) * kWidth);
  expect_close(got, expected, bound(DType::kF32));
}

TEST_P(TransformerEncoderTest, WhatIsUnderTheMaskChangesNoOtherPosition) {
  Block b(device());
  const Tensor x = b.input(), mask = b.mask(kSomeKeys);
  std::vector<float> other = x.to_vector<float>(b.run.stream);
  const std::vector<float> noise = random_values(int64_t(other.size()), 5, -9, 9);
  for (size_t i = 0; i < other.size(); ++i)
    if (kSomeKeys[i / kWidth] == 0) other[i] = noise[i];
  const Values before = b(x, mask), after = b(Tensor::from<float>(b.run.stream, other, x.shape()), mask);
  for (size_t i = 0; i < before.size(); ++i) {
    if (kSomeKeys[i / kWidth] != 0)
      EXPECT_EQ(before[i], after[i]) << i;
    else
      EXPECT_NE(before[i], after[i]) << i;
  }
}

TEST_P(TransformerEncoderTest, DropoutWorksInTrainingOnly) {
  Block b(device()), calm(device(), {.width = kWidth, .heads = kHeads, .inner = kInner, .dropout = 0});
  const Tensor x = b.input(), mask = b.mask(kSomeKeys);
  const Tensor calm_x = calm.input(), calm_mask = calm.mask(kSomeKeys);  // each block has a stream of its own
  EXPECT_EQ(b(x, mask), calm(calm_x, calm_mask));
  EXPECT_EQ(calm(calm_x, calm_mask, true), calm(calm_x, calm_mask));
  EXPECT_NE(b(x, mask, true), b(x, mask));
  EXPECT_EQ(b(x, mask, true), b(x, mask, true));  // the seed decides
}

TEST_P(TransformerEncoderTest, GradientsFollowFiniteDifferences) {
  for (const bool training : {true, false})
    for (const bool final_norm : {true, false}) {
      SCOPED_TRACE(testing::Message() << training << final_norm);
      TransformerLayerConfig config = kSmall;
      config.final_norm = final_norm;
      const Block b(device(), config);
      const Tensor mask = b.mask(kSomeKeys);
      check_gradients(b.run.stream, b.init, {b.input()},
                      [&](Ctx& c, const std::vector<Var>& in) { return b.layer.forward(c, in[0], mask); },
                      {.step = 2e-3, .probes = 4, .training = training});
    }
}

TEST_P(TransformerEncoderTest, AnEmptyDocumentStaysFinite) {
  Block b(device());
  const Tensor x = b.input(), mask = b.mask(kOneEmpty);
  for (const bool training : {true, false})
    for (const double v : b(x, mask, training)) EXPECT_TRUE(std::isfinite(v));
  check_gradients(b.run.stream, b.init, {x},
                  [&](Ctx& c, const std::vector<Var>& in) { return b.layer.forward(c, in[0], mask); },
                  {.step = 2e-3, .probes = 3});
  EXPECT_TRUE(b(Tensor::empty(b.run.stream, {0, kLength, kWidth}), Tensor()).empty());
}

}  // namespace
}  // namespace sluice::test::transformer_encoder_test
