// Vision transformer and MLP-Mixer: published parameter counts, the whole network in double, what each rule keeps.
#include "models/vision.h"

#include "kernels/common/bits.h"
#include "pipeline/inference.h"
#include "tests/layers/formula.h"
#include "tests/models/counts.h"

namespace sluice::test::vision_test {
namespace {

AuxiliaryCoverage covered(Auxiliary from, int level) { return {.from = from, .level = level}; }

TEST(VisionTest, VitHasThePublishedParameterCounts) {
  const auto count = [](Auxiliary from, int level) {
    return total(vit_backprop({.auxiliary = {.from = from, .level = level}}));
  };
  EXPECT_EQ(count(Auxiliary::kNone, 0), 12'470'026);
  EXPECT_EQ(count(Auxiliary::kBias, 1), 12'480'778);
  EXPECT_EQ(count(Auxiliary::kBias, 4), 12'494'218);
  for (int level = 1; level <= 4; ++level) EXPECT_EQ(count(Auxiliary::kSign, level), 12'470'026);
  EXPECT_EQ(total(vit_backprop({.class_token = false})), 12'470'026 - 2 * 384);
}

TEST(VisionTest, MixerHasThePublishedParameterCounts) {
  EXPECT_EQ(total(mixer_backprop({})), 1'132'170);
  EXPECT_EQ(total(mixer_backprop({.auxiliary = covered(Auxiliary::kSign, 4)})), 1'132'170);
  EXPECT_EQ(total(mixer_backprop({.auxiliary = covered(Auxiliary::kBias, 4)})), 1'132'170 + 8 * (512 + 128 + 64 + 64));
}

TEST(VisionTest, BlocksAreDealtOutToStages) {
  EXPECT_EQ(vit_backprop({}).size(), 9u);
  EXPECT_EQ(vit_associated({}).size(), 8u);
  EXPECT_EQ(vit_backprop({.stage_layers = 3}).size(), 5u);  // 3 + 3 + 1 blocks
  EXPECT_EQ(total(vit_backprop({.stage_layers = 3})), 12'470'026);
  EXPECT_EQ(mixer_backprop({}).size(), 10u);
  EXPECT_EQ(mixer_associated({.stage_layers = 8}).size(), 2u);
  const std::vector<StageNet> nets = vit_associated({});
  EXPECT_EQ(count(nets[3].init, "stage3.f."), 1'774'464);
  EXPECT_EQ(count(nets[3].init, "stage3.b."), 385 * 1000 + 1001 * 700);
}

TEST(VisionTest, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(vit_backprop({.image = 28}), ConfigError);
  EXPECT_THROW(vit_backprop({.patches = 0}), ConfigError);
  EXPECT_THROW(vit_backprop({.patches = 64}), ConfigError);
  EXPECT_THROW(vit_backprop({.classes = 1}), ConfigError);
  EXPECT_THROW(vit_backprop({.hidden = 100}), ShapeError);
  EXPECT_THROW(vit_backprop({.mlp_hidden = 0}), ConfigError);
  EXPECT_THROW(vit_backprop({.layers = 0}), ConfigError);
  EXPECT_THROW(vit_associated({.stage_layers = 0}), ConfigError);
  EXPECT_THROW(mixer_backprop({.image = 30}), ConfigError);
  EXPECT_THROW(mixer_backprop({.patch = 0}), ConfigError);
  EXPECT_THROW(mixer_backprop({.hidden_s = 0}), ConfigError);
  EXPECT_THROW(mixer_associated({.in_channels = 0}), ConfigError);
}

constexpr int64_t kSamples = 3, kImage = 8, kClasses = 4;

VisionTransformerConfig small_vit(bool class_token = true) {
  return {.in_channels = 2,
          .image = kImage,
          .classes = kClasses,
          .patches = 2,
          .hidden = 6,
          .mlp_hidden = 10,
          .heads = 2,
          .layers = 3,
          .stage_layers = 2,
          .class_token = class_token,
          .bridge = 8,
          .code = 5};
}
MixerConfig small_mixer() {
  return {.in_channels = 2,
          .image = kImage,
          .classes = kClasses,
          .patch = 4,
          .hidden = 6,
          .hidden_c = 10,
          .hidden_s = 5,
          .layers = 3,
          .stage_layers = 2,
          .bridge = 8,
          .code = 5};
}

using VisionModelTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, VisionModelTest, testing::ValuesIn(test_devices()), device_label);

/// Logits of the whole chain, as evaluate() makes them.
Values logits(const std::vector<StageNet>& nets, std::vector<std::unique_ptr<LayerRun>>& runs, const Tensor& images) {
  Bundle x{{images}};
  const auto ctx = [&](size_t i) {
    LayerRun& r = *runs[i];
    return Ctx{.stream = r.stream, .weights = r.arena.weights(), .arena = r.arena, .ledger = r.ledger};
  };
  for (size_t i = 0; i < nets.size(); ++i) {
    Ctx c = ctx(i);
    if (i > 0) x = handed_on(*nets[i - 1].body, *nets[i].body, x);
    x = nets[i].body->infer(c, x);
  }
  Ctx c = ctx(nets.size() - 1);
  Var z = nets.back().body->head(c, x);
  for (size_t i = nets.size(); i-- > 0;) {
    Ctx here = ctx(i);
    z = nets[i].body->decode(here, z);
  }
  return to_double(runs[0]->stream, z.value);
}

std::vector<std::unique_ptr<LayerRun>> runs_of(const Stream& s, const std::vector<StageNet>& nets) {
  std::vector<std::unique_ptr<LayerRun>> runs;
  for (const StageNet& n : nets) runs.push_back(std::make_unique<LayerRun>(s, n.init));
  return runs;
}

/// Patches of 4x4x2 in the order (y, x, channel), two a row and column.
Values patches(const Values& images) {
  Values rows;
  for (size_t b = 0; b < size_t(kSamples); ++b)
    for (size_t p = 0; p < 4; ++p)
      for (size_t y = 0; y < 4; ++y)
        for (size_t k = 0; k < 8; ++k) rows.push_back(images[((b * 8 + p / 2 * 4 + y) * 8 + p % 2 * 4) * 2 + k]);
  return rows;
}

/// The mean over tokens, or the first of them.
Values token(const Values& x, const TokenSizes& z, bool first) {
  Values y(z.samples * z.width, 0.0);
  for (size_t b = 0; b < z.samples; ++b)
    for (size_t t = 0; t < (first ? 1 : z.tokens); ++t)
      for (size_t j = 0; j < z.width; ++j)
        y[b * z.width + j] += x[(b * z.tokens + t) * z.width + j] / (first ? 1.0 : double(z.tokens));
  return y;
}

TEST_P(VisionModelTest, VitFollowsTheFormula) {
  for (const bool class_token : {true, false}) {
    const std::vector<StageNet> nets = vit_backprop(small_vit(class_token));
    ASSERT_EQ(nets.size(), 4u);
    const Stream s(device());
    auto runs = runs_of(s, nets);
    const Tensor images = random(s, {kSamples, kImage, kImage, 2}, 1);
    const Values mapped = Weights64(*runs[0], "stage0.f.embedding").linear(patches(to_double(s, images)));
    const Values at = runs[0]->values("stage0.f.positions"), first = runs[0]->values("stage0.f.class_token");
    const TokenSizes z{kSamples, class_token ? 5u : 4u, 6};
    Values x;
    for (size_t b = 0; b < z.samples; ++b) {
      x.insert(x.end(), first.begin(), first.end());
      x.insert(x.end(), mapped.begin() + int64_t(b * 24), mapped.begin() + int64_t(b * 24 + 24));
    }
    for (size_t i = 0; i < x.size(); ++i) x[i] += at[i % at.size()];
    x = vision_block(*runs[1], "stage1.f.block1", x, z, 2);
    x = vision_block(*runs[1], "stage1.f.block2", x, z, 2);
    x = vision_block(*runs[2], "stage2.f.block1", x, z, 2);
    const Values feature = Weights64(*runs[3], "stage3.f.norm").norm(token(x, z, class_token));
    expect_close(logits(nets, runs, images), Weights64(*runs[3], "stage3.f.fc").linear(feature), bound(DType::kF32));
  }
}

TEST_P(VisionModelTest, MixerFollowsTheFormula) {
  const std::vector<StageNet> nets = mixer_backprop(small_mixer());
  ASSERT_EQ(nets.size(), 4u);
  const Stream s(device());
  auto runs = runs_of(s, nets);
  const Tensor images = random(s, {kSamples, kImage, kImage, 2}, 1);
  const TokenSizes z{kSamples, 4, 6};
  Values x = Weights64(*runs[0], "stage0.f.embedding").linear(patches(to_double(s, images)));
  x = mixer_block(*runs[1], "stage1.f.block1", x, z);
  x = mixer_block(*runs[1], "stage1.f.block2", x, z);
  x = mixer_block(*runs[2], "stage2.f.block1", x, z);
  const Values feature = token(Weights64(*runs[3], "stage3.f.norm").norm(x), z, false);
  expect_close(logits(nets, runs, images), Weights64(*runs[3], "stage3.f.fc").linear(feature), bound(DType::kF32));
}

TEST_P(VisionModelTest, AssociatedStagesGiveLogitsThatDependOnTheImage) {
  const Stream s(device());
  for (const std::vector<StageNet>& nets :
       {vit_associated(small_vit()), vit_associated(small_vit(false)), mixer_associated(small_mixer())}) {
    auto runs = runs_of(s, nets);
    const Values one = logits(nets, runs, random(s, {kSamples, kImage, kImage, 2}, 1));
    ASSERT_EQ(one.size(), size_t(kSamples * kClasses));
    EXPECT_NE(one, logits(nets, runs, random(s, {kSamples, kImage, kImage, 2}, 2)));
    // The feature of the patches is not their class token, which is the same for every image.
    const auto feature = [&](uint64_t seed) {
      LayerRun& r = *runs[0];
      Ctx c{.stream = s, .weights = r.arena.weights(), .arena = r.arena, .ledger = r.ledger};
      return to_double(s, nets[0].body->head(c, nets[0].body->infer(c, {{random(s, {2, 8, 8, 2}, seed)}})).value);
    };
    EXPECT_NE(feature(1), feature(2));
  }
}

/// Bytes that a training pass of one network keeps for its backward passes, the last stage left out.
int64_t kept(const Stream& s, const std::vector<StageNet>& nets, const Shape& images = {kSamples, kImage, kImage, 2}) {
  int64_t bytes = 0;
  Bundle x{{random(s, images, 1)}};
  for (size_t i = 0; i + 1 < nets.size(); ++i) {
    Arena arena(s, nets[i].init, 3);
    Ledger ledger;
    Tape tape;
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .tape = &tape, .training = true};
    if (i > 0) x[0] = tape.leaf(x[0].value);
    StageOutput out = nets[i].body->forward(c, x, x, 1.0f);
    bytes += ledger.bytes();
    x = std::move(out.out);
  }
  return bytes;
}

/// Level by level, less than backprop by the elements that the inputs of `blocks` converted layers have for a sample.
template <class Config>
void expect_savings(const Stream& s, Config c, std::vector<StageNet> (*make)(const Config&),
                    const int64_t (&elements)[4], const int64_t (&bit_elements)[4]) {
  c.dropout = 0.3f;  // so that no layer's input is the output that the ReLU before it may keep
  const int64_t backprop = kept(s, make(c));
  int64_t saved = 0, bits = 0;
  for (int level = 1; level <= 4; ++level) {
    saved += c.layers * 4 * kSamples * elements[level - 1];
    bits += c.layers * packed_bytes(kSamples * bit_elements[level - 1]);
    c.auxiliary = covered(Auxiliary::kBias, level);
    EXPECT_EQ(kept(s, make(c)), backprop - saved) << level;
    c.auxiliary = covered(Auxiliary::kSign, level);
    EXPECT_EQ(kept(s, make(c)), backprop - saved + bits) << level;
  }
}

TEST_P(VisionModelTest, EachLevelSavesItsLayersInputsInEveryBlock) {
  const Stream s(device());
  constexpr int64_t kTokens = 5, kPatches = 4, d = 6, m = 10, kS = 5;
  // Attention keeps its output for itself, so that of level 3 is not saved; Q, K and V share their bits.
  expect_savings(s, small_vit(), vit_backprop, {kTokens * m, kTokens * d, 0, kTokens * d},
                 {kTokens * m, kTokens * d, kTokens * d, kTokens * d});
  expect_savings(s, small_mixer(), mixer_backprop, {kPatches * m, kPatches * d, d * kS, kPatches * d},
                 {kPatches * m, kPatches * d, d * kS, kPatches * d});
}

/// Of one sample in the published networks. Level 3 of the vision transformer is left out: attention keeps its output.
TEST(VisionTest, SavesThePublishedBytes) {
  const Stream s(Device{});
  const auto vit = [&](Auxiliary from, int level) {
    return kept(s, vit_backprop({.dropout = 0.3f, .auxiliary = {.from = from, .level = level}}), {1, 32, 32, 3});
  };
  const auto mixer = [&](Auxiliary from, int level) {
    return kept(s, mixer_backprop({.dropout = 0.3f, .auxiliary = {.from = from, .level = level}}), {1, 32, 32, 3});
  };
  const int64_t vit_all = vit(Auxiliary::kNone, 0), mixer_all = mixer(Auxiliary::kNone, 0);
  EXPECT_EQ(vit_all - vit(Auxiliary::kBias, 1), 8'616'712 - 5'821'192);
  EXPECT_EQ(vit_all - vit(Auxiliary::kBias, 2), 8'616'712 - 5'122'312);
  EXPECT_EQ(vit_all - vit(Auxiliary::kSign, 1), 8'616'712 - 5'908'552);
  EXPECT_EQ(vit_all - vit(Auxiliary::kSign, 2), 8'616'712 - 5'231'512);
  const int64_t bias[] = {1'393'664, 1'131'520, 869'376, 607'232}, sign[] = {1'426'432, 1'172'480, 918'528, 664'576};
  for (int level = 1; level <= 4; ++level) {
    EXPECT_EQ(mixer_all - mixer(Auxiliary::kBias, level), 2'442'240 - bias[level - 1]) << level;
    EXPECT_EQ(mixer_all - mixer(Auxiliary::kSign, level), 2'442'240 - sign[level - 1]) << level;
  }
}

}  // namespace
}  // namespace sluice::test::vision_test
