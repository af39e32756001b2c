// A vision transformer's block: parameters, the formula in double, gradients, and what each level keeps.
#include "layers/vision_block.h"

#include "kernels/common/bits.h"
#include "tests/layers/formula.h"

namespace sluice::test::vision_block_test {
namespace {

using VisionBlockTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, VisionBlockTest, testing::ValuesIn(test_devices()), device_label);

constexpr int64_t kSamples = 2, kTokens = 5, kWidth = 6, kInner = 7;
constexpr int kHeads = 2;
constexpr VisionBlockConfig kSmall{.width = kWidth, .heads = kHeads, .inner = kInner};

VisionBlockConfig covered(Auxiliary from, int level, bool faithful = false) {
  VisionBlockConfig c = kSmall;
  c.dropout = 0.3f;  // so that no layer's input is the output that the ReLU before it may keep
  c.auxiliary = {.from = from, .level = level, .faithful = faithful};
  return c;
}

TEST(VisionBlock, HasThePublishedCountOfParameters) {
  const auto count = [](const VisionBlockConfig& c) {
    Init init;
    const VisionBlock block(init.scope("f"), c);
    int64_t n = 0;
    for (const ParamSpec& p : init.params()) n += p.shape.numel();
    return n;
  };
  EXPECT_EQ(count({}), 4 * (384 * 384 + 384) + 2 * 384 * 1536 + 1536 + 384 + 2 * 2 * 384);
  const auto with = [&](Auxiliary from, int level) { return count({.auxiliary = {.from = from, .level = level}}); };
  EXPECT_EQ(with(Auxiliary::kSign, 4), count({}));
  EXPECT_EQ(with(Auxiliary::kBias, 1), count({}) + 1536);
  EXPECT_EQ(with(Auxiliary::kBias, 2), count({}) + 1536 + 384);
  EXPECT_EQ(with(Auxiliary::kBias, 3), count({}) + 1536 + 2 * 384);
  EXPECT_EQ(with(Auxiliary::kBias, 4), count({}) + 1536 + 5 * 384);
  Init init;
  const VisionBlock block(init.scope("f"), covered(Auxiliary::kBias, 4));
  EXPECT_THAT(declared(init), testing::IsSupersetOf({"f.qkv.weight [18, 6]", "f.qkv.auxiliary_bias [3, 6]",
                                                     "f.narrow.auxiliary_bias [7]"}));
}

TEST(VisionBlock, RefusesWidthsThatDoNotSplitAndBadProbabilities) {
  EXPECT_THROW(VisionBlock(Init().scope("f"), {.width = 384, .heads = 7}), ShapeError);
  EXPECT_THROW(VisionBlock(Init().scope("f"), {.heads = 0}), ShapeError);
  EXPECT_THROW(VisionBlock(Init().scope("f"), {.dropout = 1.0f}), ConfigError);
}

TEST_P(VisionBlockTest, EvaluationFollowsTheFormula) {
  Init init;
  const VisionBlock block(init.scope("block"), kSmall);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {kSamples, kTokens, kWidth}, 1, -2, 2);
  const Values z = vision_block(run, "block", to_double(run.stream, x), {kSamples, kTokens, kWidth}, kHeads);
  expect_close(to_double(run.stream, run(block, x)), z, bound(DType::kF32));
  EXPECT_EQ(to_double(run.stream, run(block, x, true)), to_double(run.stream, run(block, x)));  // no dropout
}

TEST_P(VisionBlockTest, DropoutWorksInTrainingOnly) {
  VisionBlockConfig wet = kSmall;
  wet.dropout = 0.3f;
  Init init, calm;
  const VisionBlock block(init.scope("block"), wet), dry(calm.scope("block"), kSmall);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {kSamples, kTokens, kWidth}, 1);
  const Values straight = to_double(run.stream, run(dry, x));
  EXPECT_EQ(to_double(run.stream, run(block, x)), straight);
  EXPECT_NE(to_double(run.stream, run(block, x, true)), straight);
}

TEST_P(VisionBlockTest, GradientsFollowFiniteDifferences) {
  const Stream s(device());
  for (const float p : {0.0f, 0.3f}) {
    VisionBlockConfig config = kSmall;
    config.dropout = p;
    Init init;
    const VisionBlock block(init.scope("block"), config);
    check_gradients(s, init, {random(s, {kSamples, kTokens, kWidth}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return block.forward(c, in[0]); },
                    {.step = 1e-3, .probes = 4});  // few ReLUs turn within it
  }
}

TEST_P(VisionBlockTest, EveryLevelKeepsLess) {
  const Stream s(device());
  const auto kept = [&](const VisionBlockConfig& c) {
    Init init;
    const VisionBlock block(init.scope("block"), c);
    return LayerRun(s, init).kept(block, random(s, {kSamples, kTokens, kWidth}, 1));
  };
  constexpr int64_t kRows = kSamples * kTokens;
  // The inputs of the second layer, the first, of the output projection (attention keeps its output anyway), and of Q,
  // K and V together.
  constexpr int64_t kWidths[] = {kInner, kWidth, 0, kWidth};
  const int64_t backprop = kept(covered(Auxiliary::kNone, 0));
  int64_t saved = 0, bits = 0;
  for (int level = 1; level <= 4; ++level) {
    saved += kRows * kWidths[level - 1] * 4;
    bits += packed_bytes(kRows * (level == 1 ? kInner : kWidth));
    EXPECT_EQ(kept(covered(Auxiliary::kBias, level)), backprop - saved) << level;
    EXPECT_EQ(kept(covered(Auxiliary::kSign, level)), backprop - saved + bits) << level;
  }
}

/// The gradient of the second layer's weight for zero inputs, which only the sign of 0 makes anything of.
Values narrow_gradient(const Stream& s, const VisionBlockConfig& config) {
  Init init;
  const VisionBlock block(init.scope("block"), config);
  Arena arena(s, init, 1);
  Ledger ledger;
  Tape tape;
  const auto param = [&](const Tensor& of, const std::string& path) {
    for (size_t i = 0; i < arena.specs().size(); ++i)
      if (arena.specs()[i].path == path) return of.flat_view(arena.offset(int(i)), arena.specs()[i].shape);
    return Tensor();
  };
  const auto fill = [&](const char* path, int64_t n, float v) {
    param(arena.values(), path).assign<float>(s, std::vector<float>(size_t(n), v));
  };
  fill("block.widen.bias", kInner, -100);  // the first ReLU closes everywhere, the second nowhere
  fill("block.narrow.bias", kWidth, 100);
  arena.bump_version();
  Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape};
  const Var y = block.forward(c, tape.leaf(random(s, {kSamples, kTokens, kWidth}, 1)));
  BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  arena.begin_step();
  tape.backward({{y, random(s, y.shape(), 2)}}, b);
  arena.finish_grads(s);
  return to_double(s, param(arena.grads(), "block.narrow.weight"));
}

TEST_P(VisionBlockTest, OnlyFaithfulLevelOneForgetsTheRelu) {
  const Stream s(device());
  const auto moves = [&](int level, bool faithful) {
    double most = 0;
    for (const double g : narrow_gradient(s, covered(Auxiliary::kSign, level, faithful)))
      most = std::max(most, std::abs(g));
    return most > 0;
  };
  for (int level = 1; level <= 4; ++level) {
    EXPECT_FALSE(moves(level, false)) << level;
    EXPECT_EQ(moves(level, true), level == 1) << level;
  }
}

}  // namespace
}  // namespace sluice::test::vision_block_test
