// An MLP-Mixer's block: parameters, the formula in double, gradients, and what each level keeps.
#include "layers/mixer_block.h"

#include "kernels/common/bits.h"
#include "tests/layers/formula.h"

namespace sluice::test::mixer_block_test {
namespace {

using MixerBlockTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, MixerBlockTest, testing::ValuesIn(test_devices()), device_label);

constexpr int64_t kSamples = 3, kTokens = 9, kWidth = 6, kS = 5, kC = 11;
constexpr MixerBlockConfig kSmall{.tokens = kTokens, .width = kWidth, .token_inner = kS, .channel_inner = kC};

MixerBlockConfig covered(Auxiliary from, int level) {
  MixerBlockConfig c = kSmall;
  c.dropout = 0.3f;  // so that no layer's input is the output that the ReLU before it may keep
  c.auxiliary = {.from = from, .level = level};
  return c;
}

TEST(MixerBlock, HasThePublishedCountOfParameters) {
  const auto count = [](const MixerBlockConfig& c) {
    Init init;
    const MixerBlock block(init.scope("f"), c);
    int64_t n = 0;
    for (const ParamSpec& p : init.params()) n += p.shape.numel();
    return n;
  };
  EXPECT_EQ(count({}), 2 * (64 * 64 + 64) + 2 * 128 * 512 + 512 + 128 + 2 * 2 * 128);
  const auto with = [&](Auxiliary from, int level) { return count({.auxiliary = {.from = from, .level = level}}); };
  EXPECT_EQ(with(Auxiliary::kSign, 4), count({}));
  const int64_t vectors[] = {512, 128, 64, 64};
  int64_t expected = count({});
  for (int level = 1; level <= 4; ++level)
    EXPECT_EQ(with(Auxiliary::kBias, level), expected += vectors[level - 1]) << level;
  EXPECT_THROW(MixerBlock(Init().scope("f"), {.dropout = -0.1f}), ConfigError);
}

TEST_P(MixerBlockTest, EvaluationFollowsTheFormula) {
  Init init;
  const MixerBlock block(init.scope("block"), kSmall);
  LayerRun run(Stream(device()), init);
  const Tensor x = random(run.stream, {kSamples, kTokens, kWidth}, 1, -2, 2);
  const Values z = mixer_block(run, "block", to_double(run.stream, x), {kSamples, kTokens, kWidth});
  expect_close(to_double(run.stream, run(block, x)), z, bound(DType::kF32));
  EXPECT_THROW(run(block, random(run.stream, {kSamples, kTokens + 1, kWidth}, 1)), ShapeError);
}

TEST_P(MixerBlockTest, GradientsFollowFiniteDifferences) {
  const Stream s(device());
  for (const float p : {0.0f, 0.3f}) {
    MixerBlockConfig config = kSmall;
    config.dropout = p;
    Init init;
    const MixerBlock block(init.scope("block"), config);
    check_gradients(s, init, {random(s, {kSamples, kTokens, kWidth}, 1)},
                    [&](Ctx& c, const std::vector<Var>& in) { return block.forward(c, in[0]); },
                    {.step = 1e-3, .probes = 4});  // few ReLUs turn within it
  }
}

TEST_P(MixerBlockTest, EveryLevelKeepsLess) {
  const Stream s(device());
  const auto kept = [&](const MixerBlockConfig& c) {
    Init init;
    const MixerBlock block(init.scope("block"), c);
    return LayerRun(s, init).kept(block, random(s, {kSamples, kTokens, kWidth}, 1));
  };
  // The inputs of the four layers, in the order of the levels.
  constexpr int64_t kInputs[] = {kTokens * kC, kTokens * kWidth, kWidth * kS, kTokens * kWidth};
  const int64_t backprop = kept(covered(Auxiliary::kNone, 0));
  int64_t saved = 0, bits = 0;
  for (int level = 1; level <= 4; ++level) {
    const int64_t elements = kSamples * kInputs[level - 1];
    saved += 4 * elements;
    bits += packed_bytes(elements);
    EXPECT_EQ(kept(covered(Auxiliary::kBias, level)), backprop - saved) << level;
    EXPECT_EQ(kept(covered(Auxiliary::kSign, level)), backprop - saved + bits) << level;
  }
}

}  // namespace
}  // namespace sluice::test::mixer_block_test
