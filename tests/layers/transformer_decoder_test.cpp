// A decoder layer: parameters, the formula in double, what it may see, gradients of both inputs under every rule.
#include "layers/transformer_decoder.h"

#include "tests/layers/formula.h"

namespace sluice::test::transformer_decoder_test {
namespace {

using TransformerDecoderTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TransformerDecoderTest, testing::ValuesIn(test_devices()), device_label);

constexpr int64_t kSamples = 2, kLength = 5, kMemory = 3, kWidth = 6;
constexpr int kHeads = 2;
constexpr TransformerLayerConfig kSmall{
    .width = kWidth, .heads = kHeads, .inner = 7, .dropout = 0.3f, .standard = true};
const std::vector<uint8_t> kKept{1, 1, 0, 1, 0, 1};

struct Decoder {
  explicit Decoder(Device device, const TransformerLayerConfig& config = kSmall)
      : layer(init.scope("layer"), config), run(Stream(device), init) {}
  Values operator()(const Tensor& x, const Tensor& memory, const Tensor& mask) {
    Ctx c{.stream = run.stream, .weights = run.arena.weights(), .arena = run.arena, .ledger = run.ledger};
    return to_double(run.stream, layer.forward(c, {x}, {memory}, mask).value);
  }
  Tensor x() const { return random(run.stream, {kSamples, kLength, kWidth}, 1); }
  Tensor memory() const { return random(run.stream, {kSamples, kMemory, kWidth}, 2); }
  Tensor mask() const { return Tensor::from<uint8_t>(run.stream, kKept, {kSamples, kMemory}); }

  Init init;
  TransformerDecoder layer;
  LayerRun run;
};

TEST(TransformerDecoder, HasThePublishedCountOfParameters) {
  Init init;
  const TransformerDecoder layer(init.scope("f"),
                                 {.width = 512, .heads = 8, .inner = 2048, .final_norm = false, .standard = true});
  int64_t count = 0;
  for (const ParamSpec& p : init.params()) count += p.shape.numel();
  // Eight projections with bias, the feed-forward pair with bias, three norms of two vectors.
  EXPECT_EQ(count, 8 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 3 * 2 * 512);
  EXPECT_THAT(declared(init), testing::Contains("f.cross.kv.weight [1024, 512]"));
  EXPECT_THROW(TransformerDecoder(Init().scope("f"), {.width = 300, .heads = 7}), ShapeError);
}

/// softmax(Q K^T / sqrt(d_k)) V of each head; q [B, T, d], k and v [B, S, d]; sees(sample, query, key).
template <class Sees>
Values attended_to(const Values& q, const Values& k, const Values& v, int64_t keys, Sees&& sees) {
  constexpr int64_t kCols = kWidth / kHeads;
  const int64_t queries = int64_t(q.size()) / kWidth / kSamples;
  Values y(q.size(), 0.0);
  for (int64_t b = 0; b < kSamples; ++b)
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t t = 0; t < queries; ++t) {
        Values e(size_t(keys), 0.0);
        double sum = 0;
        for (int64_t s = 0; s < keys; ++s) {
          double score = 0;
          for (int64_t j = h * kCols; j < (h + 1) * kCols; ++j)
            score += q[size_t((b * queries + t) * kWidth + j)] * k[size_t((b * keys + s) * kWidth + j)];
          sum += e[size_t(s)] = sees(b, t, s) ? std::exp(score / std::sqrt(double(kCols))) : 0.0;
        }
        for (int64_t s = 0; s < keys; ++s)
          for (int64_t j = h * kCols; j < (h + 1) * kCols; ++j)
            y[size_t((b * queries + t) * kWidth + j)] += e[size_t(s)] / sum * v[size_t((b * keys + s) * kWidth + j)];
      }
  return y;
}

/// Columns [part * d, (part + 1) * d) of rows of `parts` * d.
Values part_of(const Values& rows, size_t part, size_t parts) {
  Values y;
  for (size_t row = 0; row < rows.size(); row += parts * kWidth)
    y.insert(y.end(), rows.begin() + int64_t(row + part * kWidth), rows.begin() + int64_t(row + (part + 1) * kWidth));
  return y;
}

TEST_P(TransformerDecoderTest, EvaluationFollowsTheFormula) {
  Decoder d(device());
  const Tensor x = d.x(), memory = d.memory();
  const auto w = [&](const char* name) { return Weights64(d.run, std::string("layer.") + name); };
  const Values in = to_double(d.run.stream, x), qkv = w("self.qkv").linear(w("self.attention_norm").norm(in));
  const Values self = attended_to(part_of(qkv, 0, 3), part_of(qkv, 1, 3), part_of(qkv, 2, 3), kLength,
                                  [](int64_t, int64_t t, int64_t s) { return s <= t; });
  const Values y = sum_of(in, w("self.out").linear(self));
  const Values q = w("cross.query").linear(w("cross.attention_norm").norm(y));
  const Values kv = w("cross.kv").linear(to_double(d.run.stream, memory));
  const Values cross = attended_to(q, part_of(kv, 0, 2), part_of(kv, 1, 2), kMemory,
                                   [](int64_t b, int64_t, int64_t s) { return kKept[size_t(b * kMemory + s)] != 0; });
  const Values z = sum_of(y, w("cross.out").linear(cross));
  const Values out = sum_of(z, w("narrow").linear(relu(w("widen").linear(w("inner_norm").norm(z)))));
  expect_close(d(x, memory, d.mask()), w("final_norm").norm(out), bound(DType::kF32));
}

TEST_P(TransformerDecoderTest, APositionDependsOnNothingBehindItAndNotOnMaskedMemory) {
  Decoder d(device());
  const Tensor x = d.x(), memory = d.memory(), mask = d.mask();
  const Values before = d(x, memory, mask);
  std::vector<float> later = x.to_vector<float>(d.run.stream), other = memory.to_vector<float>(d.run.stream);
  for (size_t i = 0; i < later.size(); ++i)
    if (i / kWidth % kLength >= 3) later[i] = float(i % 5) - 2 * later[i];  // no shift: norms see none
  for (size_t i = 0; i < other.size(); ++i)
    if (kKept[i / kWidth] == 0) other[i] -= 4.0f;
  const Values after = d(Tensor::from<float>(d.run.stream, later, x.shape()),
                         Tensor::from<float>(d.run.stream, other, memory.shape()), mask);
  for (size_t i = 0; i < before.size(); ++i) {
    if (i / kWidth % kLength < 3)
      EXPECT_EQ(before[i], after[i]) << i;
    else
      EXPECT_NE(before[i], after[i]) << i;
  }
}

TEST_P(TransformerDecoderTest, GradientsOfBothInputsFollowFiniteDifferences) {
  for (const bool recompute : {false, true}) {
    TransformerLayerConfig config = kSmall;
    config.recompute = recompute;
    const Decoder d(device(), config);
    const Tensor mask = d.mask();
    check_gradients(d.run.stream, d.init, {d.x(), d.memory()},
                    [&](Ctx& c, const std::vector<Var>& in) { return d.layer.forward(c, in[0], in[1], mask); },
                    {.step = 2e-3, .probes = 4, .training = true});
  }
}

/// Bytes that a training pass keeps.
int64_t kept_by(Device device, const AuxiliaryCoverage& auxiliary) {
  TransformerLayerConfig config = kSmall;
  config.width = 16;
  config.heads = 2;
  config.inner = 32;
  config.dropout = 0;
  config.recompute = true;
  config.auxiliary = auxiliary;
  Init init;
  const TransformerDecoder layer(init.scope("layer"), config);
  LayerRun run(Stream(device), init);
  Tape tape;
  Ctx c{.stream = run.stream,
        .weights = run.arena.weights(),
        .arena = run.arena,
        .ledger = run.ledger,
        .tape = &tape,
        .training = true};
  const Tensor x = random(run.stream, {2, 4, 16}, 1), memory = random(run.stream, {2, 8, 16}, 2);
  layer.forward(c, tape.leaf(x), tape.leaf(memory), Tensor());
  return run.ledger.bytes();
}

TEST_P(TransformerDecoderTest, EachLevelKeepsLess) {
  // Samples x target tokens, and x memory tokens; width 16, inner 32. With attention run again, level 3 saves, too.
  constexpr int64_t kTokens = 2 * 4, kMemoryTokens = 2 * 8;
  int64_t before = kept_by(device(), {});
  const int64_t elements[] = {kTokens * 32, kTokens * 16, 2 * kTokens * 16, 2 * kTokens * 16 + kMemoryTokens * 16};
  for (const Auxiliary from : {Auxiliary::kBias, Auxiliary::kSign}) {
    int64_t kept = before;
    for (int level = 1; level <= 4; ++level) {
      SCOPED_TRACE(testing::Message() << int(from) << " level " << level);
      const int64_t n = elements[level - 1];
      kept -= 4 * n - (from == Auxiliary::kSign && level > 1 ? n / 8 : 0);  // level 1 shares the bits of the ReLU
      EXPECT_EQ(kept_by(device(), {.from = from, .level = level}), kept);
    }
  }
}

}  // namespace
}  // namespace sluice::test::transformer_decoder_test
