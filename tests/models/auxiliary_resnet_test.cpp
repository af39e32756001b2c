// Deep residual networks with auxiliary activations: published parameter counts, groups and bytes; what the ledger
// counts; the same gradients with and without checkpointing, and as backprop where every group is one unit.
#include "models/auxiliary_resnet.h"

#include "models/paper_bytes.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::auxiliary_resnet_test {
namespace {

using Strides = std::array<int, 4>;
using enum ResnetRule;

AuxiliaryResnetConfig config(int depth, ResnetRule rule, Strides stride, bool recompute) {
  return {.depth = depth, .rule = rule, .stride = stride, .recompute = recompute};
}

struct Published {
  int depth;
  int64_t backprop, ara, ara_gcp, aba, asa;  // 10 classes
};
const std::vector<Published> kParameters{{18, 11'173'962, 11'176'778, 11'178'698, 11'178'314, 11'177'482},
                                         {34, 21'282'122, 21'286'794, 21'290'570, 21'291'018, 21'288'906},
                                         {50, 23'520'842, 23'528'458, 23'547'338, 23'553'034, 23'545'098},
                                         {101, 42'512'970, 42'524'938, 42'565'578, 42'573'834, 42'558'730},
                                         {152, 58'156'618, 58'172'426, 58'232'266, 58'250'250, 58'225'930}};
constexpr Strides kOne{1, 1, 1, 1}, kTwo{2, 2, 2, 2};

TEST(AuxiliaryResnetTest, EveryNetworkHasThePublishedParameterCount) {
  const std::vector<std::pair<int64_t, int64_t>> imagenet{
      {18, 11'689'512}, {34, 21'797'672}, {50, 25'557'032}, {101, 44'549'160}, {152, 60'192'808}};
  for (size_t i = 0; i < kParameters.size(); ++i) {
    const Published& p = kParameters[i];
    SCOPED_TRACE(p.depth);
    const auto parameters = [&](ResnetRule rule, Strides stride, bool recompute, bool faithful = true) {
      AuxiliaryResnetConfig c = config(p.depth, rule, stride, recompute);
      c.faithful = faithful;
      return total(auxiliary_resnet_backprop(c));
    };
    EXPECT_EQ(parameters(kBackprop, kOne, false), p.backprop);
    EXPECT_EQ(parameters(kResidual, kOne, false), p.ara);
    EXPECT_EQ(parameters(kResidual, {3, 4, 2, 2}, true), p.ara_gcp);
    EXPECT_EQ(parameters(kBias, kTwo, true), p.aba);
    EXPECT_EQ(parameters(kSign, kTwo, true), p.asa);
    EXPECT_EQ(parameters(kResidual, kTwo, true, false), p.backprop) << "biases in front of batch norm are not needed";
    EXPECT_EQ(parameters(kSign, kTwo, true, false), p.backprop);
    EXPECT_EQ(total(auxiliary_resnet_backprop(
                  {.depth = p.depth, .stem = ResnetStem::k7x7Pooled, .classes = 1000, .rule = kBackprop})),
              imagenet[i].second);
  }
}

/// Running variances that start at 0, of all units.
std::vector<std::string> zero_variances(const AuxiliaryResnetConfig& c) {
  std::vector<std::string> paths;
  for (const StageNet& s : auxiliary_resnet_backprop(c))
    for (const ParamSpec& b : s.init.buffers())
      if (b.path.ends_with("running_var") && b.initial.high == 0) paths.push_back(b.path);
  return paths;
}

TEST(AuxiliaryResnetTest, FaithfulNormsThatTheAuthorsFusedStartWithoutVariance) {
  for (const ResnetRule rule : {kResidual, kSign}) {
    AuxiliaryResnetConfig basic = config(18, rule, kTwo, true), deep = config(50, rule, kTwo, true);
    EXPECT_THAT(zero_variances(basic), testing::IsEmpty());
    basic.faithful = deep.faithful = true;
    const std::vector<std::string> one = zero_variances(basic), three = zero_variances(deep);
    EXPECT_EQ(one.size(), 3u + 2 + 2 + 1) << "the first norm of every unit";
    EXPECT_THAT(one, testing::Each(testing::EndsWith("bn1.running_var")));
    EXPECT_EQ(three.size(), 3u * (1 + 3 + 4 + 6 + 2) + 1) << "all of a bottleneck, and the first one's projection";
    EXPECT_EQ(std::count_if(three.begin(), three.end(), [](const auto& p) { return p.find("shortcut") != p.npos; }), 1);
    basic.recompute = false;
    EXPECT_THAT(zero_variances(basic), testing::IsEmpty()) << "nothing is fused";
  }
}

TEST(AuxiliaryResnetTest, GroupsAreThePublishedOnes) {
  const std::vector<Strides> strides{kOne, kTwo, {3, 4, 2, 2}, {3, 4, 4, 2}, {3, 4, 6, 2}};
  const std::vector<std::pair<int, std::vector<Strides>>> groups{
      {18, {{3, 2, 2, 1}, {2, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}}},
      {34, {{4, 4, 6, 2}, {2, 2, 3, 1}, {2, 1, 3, 1}, {2, 1, 2, 1}, {2, 1, 1, 1}}},
      {50, {{3, 4, 6, 2}, {2, 2, 3, 1}, {1, 1, 3, 1}, {1, 1, 2, 1}, {1, 1, 1, 1}}},
      {101, {{3, 4, 23, 2}, {2, 2, 12, 1}, {1, 1, 12, 1}, {1, 1, 6, 1}, {1, 1, 4, 1}}},
      {152, {{3, 8, 36, 2}, {2, 4, 18, 1}, {1, 2, 18, 1}, {1, 2, 9, 1}, {1, 2, 6, 1}}}};
  for (const auto& [depth, expected] : groups)
    for (size_t i = 0; i < strides.size(); ++i)
      for (int stage = 0; stage < 4; ++stage) {
        const std::vector<ResnetUnit> units = resnet_units(config(depth, kResidual, strides[i], true), stage);
        int heads = 0;
        for (const ResnetUnit& u : units) {
          heads += u.head && !u.alone;
          EXPECT_TRUE(u.alone || u.in == units.back().in) << "a group sees activations of one shape";
        }
        EXPECT_EQ(heads, expected[i][size_t(stage)]) << depth << " strides " << i << " stage " << stage;
      }
}

struct Bytes {
  int depth, image;
  std::array<int64_t, 5> per_sample;  // strides 1,1,1,1; 2,2,2,2; 3,4,2,2; 3,4,4,2; 3,4,6,2
};

TEST(AuxiliaryResnetTest, ThePapersBytesComeFromShapes) {
  const std::vector<Strides> strides{kOne, kTwo, {3, 4, 2, 2}, {3, 4, 4, 2}, {3, 4, 6, 2}};
  const std::vector<Bytes> published{{18, 224, {10'532'736, 9'127'808, 8'324'992, 8'324'992, 8'324'992}},
                                     {18, 32, {3'440'640, 2'981'888, 2'719'744, 2'719'744, 2'719'744}},
                                     {34, 224, {18'137'536, 15'026'624, 14'625'216, 14'424'512, 14'223'808}},
                                     {34, 32, {5'923'840, 4'908'032, 4'776'960, 4'711'424, 4'645'888}},
                                     {50, 224, {39'132'928, 29'900'544, 25'083'648, 24'280'832, 23'478'016}},
                                     {50, 32, {12'783'616, 9'768'960, 8'196'096, 7'933'952, 7'671'808}},
                                     {101, 224, {60'031'232, 44'376'320, 39'559'424, 34'742'528, 33'136'896}},
                                     {152, 224, {85'846'784, 61'360'896, 54'938'368, 47'713'024, 45'304'576}}};
  const std::vector<std::pair<int, int64_t>> per_batch{
      {18, 37'888}, {34, 67'584}, {50, 211'968}, {101, 420'864}, {152, 605'184}};
  const auto at = [](int depth, int image, ResnetRule rule, Strides stride, bool recompute) {
    AuxiliaryResnetConfig c = config(depth, rule, stride, recompute);
    c.image = image;
    c.stem = image == 224 ? ResnetStem::k7x7Pooled : ResnetStem::k3x3;
    return paper_bytes(c);
  };
  for (const Bytes& b : published)
    for (size_t i = 0; i < strides.size(); ++i)
      EXPECT_EQ(at(b.depth, b.image, kResidual, strides[i], true).per_sample, b.per_sample[i]) << b.depth << " " << i;
  for (const auto& [depth, bytes] : per_batch) EXPECT_EQ(at(depth, 32, kResidual, kOne, true).per_batch, bytes);
  EXPECT_EQ(at(50, 224, kSign, kTwo, true).per_sample, 29'900'544 + 363'776);
  EXPECT_EQ(at(50, 224, kBias, kTwo, true).per_sample, 29'900'544);
  const std::array<int64_t, 4> plain{86'107'072, 76'874'688, 72'057'792, 70'452'160};
  const std::array<Strides, 4> of{kOne, kTwo, {3, 4, 2, 2}, {3, 4, 6, 2}};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(at(50, 224, kResidual, of[i], false).per_sample, plain[i]) << i;
  EXPECT_THROW(paper_bytes(config(50, kBackprop, kOne, false)), ConfigError);
}

TEST(AuxiliaryResnetTest, ThePapersBytesOfNetworksOfTokens) {
  const std::array<int64_t, 4> vit_bias{5'821'192, 5'122'312, 4'423'432, 3'724'552};
  const std::array<int64_t, 4> vit_sign{5'908'552, 5'231'512, 4'554'472, 3'877'432};
  const std::array<int64_t, 4> mixer_bias{1'393'664, 1'131'520, 869'376, 607'232};
  const std::array<int64_t, 4> mixer_sign{1'426'432, 1'172'480, 918'528, 664'576};
  EXPECT_EQ(vit_paper_bytes({}, {}), 8'616'712);
  EXPECT_EQ(mixer_paper_bytes({}, {}), 2'442'240);
  for (int level = 1; level <= 4; ++level) {
    const auto i = size_t(level - 1);
    EXPECT_EQ(vit_paper_bytes({}, {Auxiliary::kBias, level}), vit_bias[i]);
    EXPECT_EQ(vit_paper_bytes({}, {Auxiliary::kSign, level}), vit_sign[i]);
    EXPECT_EQ(mixer_paper_bytes({}, {Auxiliary::kBias, level}), mixer_bias[i]);
    EXPECT_EQ(mixer_paper_bytes({}, {Auxiliary::kSign, level}), mixer_sign[i]);
  }
  const std::array<double, 4> bias{17.59, 21.95, 28.66, 35.48}, sign{17.02, 21.32, 27.72, 34.38};
  const TranslationSizes equal{.source = 1000, .target = 1000};
  const double all = transformer_paper_bytes(equal, {});
  for (int level = 1; level <= 4; ++level) {
    const auto saved = [&](Auxiliary from) { return 100 * (1 - transformer_paper_bytes(equal, {from, level}) / all); };
    EXPECT_NEAR(saved(Auxiliary::kBias), bias[size_t(level - 1)], 0.1);
    EXPECT_NEAR(saved(Auxiliary::kSign), sign[size_t(level - 1)], 0.1);
  }
}

TEST(AuxiliaryResnetTest, RefusesWhatItCannotBe) {
  EXPECT_THROW(auxiliary_resnet_backprop({.depth = 42}), ConfigError);
  EXPECT_THROW(auxiliary_resnet_backprop({.classes = 1}), ConfigError);
  EXPECT_THROW(auxiliary_resnet_backprop({.width = 0}), ConfigError);
  EXPECT_THROW(auxiliary_resnet_backprop({.stride = {1, 0, 1, 1}}), ConfigError);
}

// ---- passes ----

using AuxiliaryResnetPassTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, AuxiliaryResnetPassTest, testing::ValuesIn(test_devices()), device_label);

struct Pass {
  std::vector<double> loss, grads, buffers;
  int64_t kept = 0, aux = 0, left = 0;
};

/// Forward and backward through all stages of a network, each on a tape of its own.
Pass run(const Stream& s, const AuxiliaryResnetConfig& c, int64_t batch) {
  const std::vector<StageNet> nets = auxiliary_resnet_backprop(c);
  Ledger ledger;
  std::vector<std::unique_ptr<Arena>> arenas;
  std::vector<std::unique_ptr<Tape>> tapes;
  std::vector<Var> leaves, outs;
  Tensor x = random(s, {batch, c.image, c.image, c.in_channels}, 1);
  const Tensor labels = random_ints(s, {batch}, 2, 0, int32_t(c.classes));
  for (size_t i = 0; i < nets.size(); ++i) {
    arenas.push_back(std::make_unique<Arena>(s, nets[i].init, 3));
    tapes.push_back(std::make_unique<Tape>());
    Ctx ctx{.stream = s,
            .weights = arenas[i]->weights(),
            .arena = *arenas[i],
            .ledger = ledger,
            .tape = tapes[i].get(),
            .training = true};
    const bool first = i == 0, last = i + 1 == nets.size();
    leaves.push_back(first ? Var{x} : tapes[i]->leaf(x));
    Bundle feed, in;
    (first ? feed : in).push_back(leaves[i]);
    if (last) feed.push_back({labels});
    StageOutput out = nets[i].body->forward(ctx, feed, in, 1.0f);
    outs.push_back(last ? out.losses[0] : out.out[0]);
    x = outs.back().value;
  }
  Pass pass{
      .loss = to_double(s, x), .grads = {}, .buffers = {}, .kept = ledger.bytes(), .aux = ledger.bytes(SaveKind::kAux)};
  x = Tensor();
  Tensor dy;
  for (size_t i = nets.size(); i-- > 0;) {
    BackwardCtx b{.stream = s, .weights = arenas[i]->weights(), .arena = *arenas[i], .ledger = ledger};
    const Var out = outs[i];
    outs.pop_back();
    tapes[i]->backward({{out, dy}}, b);
    dy = tapes[i]->take_grad(leaves[i]);
    arenas[i]->finish_grads(s);
    for (const double g : to_double(s, arenas[i]->grads())) pass.grads.push_back(g);
    for (const double v : to_double(s, arenas[i]->buffers())) pass.buffers.push_back(v);
  }
  pass.left = ledger.bytes();
  return pass;
}

/// What the ledger counts of such a network, in bytes, from the paper's form.
int64_t own_bytes(const AuxiliaryResnetConfig& c, int64_t batch) {
  const PaperBytes paper = paper_bytes(c);
  const int64_t images = c.image * c.image * c.in_channels * 4;
  // The images, which stand outside the paper's count; the logits' gradient; four numbers a channel of batch norms, not
  // two, and those of the stem.
  int64_t bytes =
      batch * (paper.per_sample + images + 4 * c.classes) + 2 * paper.per_batch + 4 * 4 * scaled(64, c.width);
  if (c.recompute) return bytes;
  // ReLU's mask behind a batch norm comes from the norm's input: no bits. Those of the stem and of inner layers:
  const int64_t side = resnet_stem_side(c);
  bytes -= batch * scaled(64, c.width) * side * side / 8;
  for (int s = 0; s < 4; ++s)
    for (const ResnetUnit& u : resnet_units(c, s)) {
      const int64_t after = u.stride == 2 ? u.side / 2 : u.side;
      bytes -= batch * u.planes * (resnet_expansion(c) > 1 ? u.side * u.side + after * after : after * after) / 8;
    }
  return bytes;
}

TEST_P(AuxiliaryResnetPassTest, TheLedgerEqualsTheClosedForm) {
  const Stream s(device());
  for (const int depth : {18, 50})
    for (const ResnetRule rule : {kResidual, kSign, kBias})
      for (const bool recompute : {false, true})
        for (const Strides& stride : {kOne, kTwo, Strides{3, 4, 6, 2}}) {
          if (depth == 50 && (rule != kResidual || stride == kTwo) && !device().is_cpu()) continue;
          AuxiliaryResnetConfig c = config(depth, rule, stride, recompute);
          c.image = 16;
          c.width = 0.25;
          SCOPED_TRACE(str(depth, " rule ", int(rule), " recompute ", recompute, " stride ", stride[0], stride[2]));
          const Pass pass = run(s, c, 2);
          EXPECT_EQ(pass.kept, own_bytes(c, 2));
          EXPECT_EQ(pass.left, 0);
        }
}

TEST(AuxiliaryResnetTest, ADryRunKeepsWhatARealOneKeeps) {
  const Stream dry(Device{}, CpuShare{.dry = true}), real{Device{}};
  for (const ResnetRule rule : {kResidual, kSign, kBias, kEightBits}) {
    AuxiliaryResnetConfig c = config(50, rule, kTwo, rule != kBias);
    c.image = 16;
    c.width = 0.125;
    EXPECT_EQ(run(dry, c, 2).kept, run(real, c, 2).kept);
  }
  for (const Strides& stride : {kOne, Strides{3, 4, 2, 2}}) {  // at full size
    AuxiliaryResnetConfig c = config(152, kResidual, stride, true);
    c.stem = ResnetStem::k7x7Pooled;
    c.image = 224;
    EXPECT_EQ(run(dry, c, 4).kept, own_bytes(c, 4));
  }
}

TEST_P(AuxiliaryResnetPassTest, CheckpointingChangesNoBit) {
  const Stream s(device());
  for (const int depth : {18, 50})
    for (const ResnetRule rule : {kResidual, kSign, kBias}) {
      AuxiliaryResnetConfig c = config(depth, rule, kTwo, false);
      c.image = 8;
      c.width = 0.125;
      const Pass plain = run(s, c, 3);
      c.recompute = true;
      const Pass again = run(s, c, 3);
      SCOPED_TRACE(depth);
      EXPECT_EQ(again.loss, plain.loss);
      EXPECT_EQ(again.grads, plain.grads);
      EXPECT_EQ(again.buffers, plain.buffers) << "running statistics are updated once";
      EXPECT_LT(again.kept, plain.kept);
    }
}

TEST_P(AuxiliaryResnetPassTest, GroupsOfOneUnitAreBackprop) {
  const Stream s(device());
  std::vector<Pass> passes;
  for (const ResnetRule rule : {kResidual, kSign, kBias}) {
    AuxiliaryResnetConfig c = config(18, rule, kOne, false);
    c.image = 8;
    c.width = 0.125;
    passes.push_back(run(s, c, 3));
  }
  EXPECT_GT(passes[0].aux, 0) << "each input is an auxiliary activation, of its own layer";
  EXPECT_EQ(passes[1].aux, 0);
  for (const size_t i : {1u, 2u}) {
    EXPECT_EQ(passes[i].grads, passes[0].grads);
    EXPECT_EQ(passes[i].kept, passes[0].kept);
  }
}

}  // namespace
}  // namespace sluice::test::auxiliary_resnet_test
