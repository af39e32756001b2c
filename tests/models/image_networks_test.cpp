// The image networks that pipelines are compared on: parameters of each stage and what crosses the cuts as published,
// starts, and passes at full size.
#include "models/image_networks.h"

#include <cmath>
#include <map>

#include "models/auxiliary_resnet.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::image_networks_test {
namespace {

struct Published {
  const char* name;
  UnitNet net;
  Shape image;
  std::vector<int64_t> parameters, boundaries;  // of each stage; floats of a sample
  int64_t total;
};

UnitNet resnet101() {
  return auxiliary_resnet_units({.depth = 101,
                                 .stem = ResnetStem::k7x7Pooled,
                                 .image = 224,
                                 .classes = 1000,
                                 .rule = ResnetRule::kBackprop,
                                 .start = ConvStart::kFanOut});
}
UnitNet resnet50() {
  return auxiliary_resnet_units(
      {.depth = 50, .stem = ResnetStem::k7x7Pooled, .image = 224, .classes = 1000, .rule = ResnetRule::kBackprop});
}

/// The four-stage partitions of Guan et al.'s experiments; DenseNet-121 one block a stage.
std::vector<Published> published() {
  const ImageNetworkConfig cifar{.image = 32, .classes = 100};
  return {
      {"resnet101",
       resnet101(),
       {224, 224, 3},
       {225'344, 4'966'400, 11'171'840, 28'185'576},
       {256 * 56 * 56, 1024 * 14 * 14, 1024 * 14 * 14},
       44'549'160},
      {"inception_v3",
       inception_v3({.image = 299}),
       {299, 299, 3},
       {172'672, 1'971'808, 4'679'424, 17'010'664},
       {192 * 35 * 35, 768 * 17 * 17, 768 * 17 * 17},
       23'834'568},
      {"alexnet",
       alexnet({}),
       {224, 224, 3},
       {23'296, 307'392, 2'139'008, 58'631'144},
       {64 * 27 * 27, 192 * 13 * 13, 256 * 13 * 13},
       61'100'840},
      {"vgg16",
       vgg16(cifar),
       {32, 32, 3},
       {38'976, 1'698'816, 5'902'848, 7'133'796},
       {64 * 16 * 16, 256 * 8 * 8, 512 * 4 * 4},
       14'774'436},
      {"googlenet",
       googlenet(cifar),
       {32, 32, 3},
       {171'312, 424'096, 848'952, 4'814'140},
       {256 * 32 * 32, 480 * 16 * 16, 512 * 16 * 16},
       6'258'500},
      {"densenet121",
       densenet121(cifar),
       {32, 32, 3},
       {370'048, 1'051'776, 3'364'096, 2'262'628},
       {128 * 16 * 16, 256 * 8 * 8, 512 * 4 * 4},
       7'048'548},
      {"densenet121, large",
       densenet121({}),
       {224, 224, 3},
       {377'856, 1'051'776, 3'364'096, 3'185'128},
       {128 * 28 * 28, 256 * 14 * 14, 512 * 7 * 7},
       7'978'856},
  };
}

TEST(ImageNetworksTest, StagesHaveThePublishedParameterCounts) {
  for (const Published& p : published()) {
    SCOPED_TRACE(p.name);
    const std::vector<StageNet> stages = cut(p.net);
    ASSERT_EQ(stages.size(), 4u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(count(stages[i].init), p.parameters[i]) << "stage " << i;
    EXPECT_EQ(total(stages), p.total);
    EXPECT_EQ(total(cut(p.net, {})), p.total);
    EXPECT_EQ(total(cut(p.net, all_cuts(p.net))), p.total);
  }
  EXPECT_EQ(total(cut(resnet50())), 25'557'032);
  EXPECT_EQ(total(cut(vgg16({.image = 32, .classes = 10}))), 14'774'436 - 90 * 513);
  EXPECT_EQ(total(cut(densenet121({.image = 32, .classes = 10}))), 6'956'298);
}

TEST(ImageNetworksTest, PublishedFloatsCrossTheCuts) {
  for (const Published& p : published()) {
    SCOPED_TRACE(p.name);
    const std::vector<UnitCost> costs = unit_costs(p.net, 2);
    int64_t parameters = 0;
    for (const UnitCost& c : costs) parameters += c.parameters;
    EXPECT_EQ(parameters, p.total);
    for (size_t i = 0; i < 3; ++i) {
      const std::vector<UnitValue>& values = costs[size_t(p.net.cuts[i]) - 1].handed_on;
      ASSERT_EQ(values.size(), 1u);
      EXPECT_EQ(values[0].shape.numel(), 2 * p.boundaries[i]) << "behind stage " << i;
    }
  }
}

/// Multiplications of the convolutions and products of one image, from the papers' and libraries' tables: "4.1 billion"
/// and the like.
TEST(ImageNetworksTest, OneImageTakesThePublishedProducts) {
  const auto billions = [](const UnitNet& net) {
    int64_t flops = 0;
    for (const UnitCost& c : unit_costs(net)) flops += c.flops;
    return double(flops) / 2e9;
  };
  EXPECT_NEAR(billions(alexnet({})), 0.71, 0.02);
  EXPECT_NEAR(billions(resnet50()), 4.1, 0.15);
  EXPECT_NEAR(billions(resnet101()), 7.8, 0.25);
  EXPECT_NEAR(billions(inception_v3({.image = 299})), 5.7, 0.2);
  EXPECT_NEAR(billions(densenet121({})), 2.85, 0.15);
}

const ParamSpec& spec(const std::vector<StageNet>& nets, const std::string& path) {
  for (const StageNet& n : nets)
    for (const ParamSpec& p : n.init.params())
      if (p.path == path) return p;
  throw Error(str("no parameter '", path, "'"));
}

TEST(ImageNetworksTest, ParametersStartAsPublished) {
  const std::vector<StageNet> vgg = cut(vgg16({.image = 32, .classes = 100})), google = cut(googlenet({.image = 32})),
                              inception = cut(inception_v3({.image = 299})), alex = cut(alexnet({})),
                              resnet = cut(resnet101());
  const auto deviation = [](const ParamSpec& p) { return p.initial.deviation; };
  EXPECT_FLOAT_EQ(deviation(spec(vgg, "conv2_1.conv.weight")), std::sqrt(2.0f / (9 * 128)));
  EXPECT_FLOAT_EQ(deviation(spec(vgg, "fc.weight")), 0.01f);
  EXPECT_FLOAT_EQ(deviation(spec(google, "a3.five2.conv.weight")), std::sqrt(2.0f / (9 * 32)));
  EXPECT_FLOAT_EQ(deviation(spec(google, "head.fc.weight")), 0.01f);
  for (const char* path : {"1a.conv.weight", "6b.seven2.conv.weight", "head.fc.weight"}) {
    EXPECT_FLOAT_EQ(deviation(spec(inception, path)), 0.1f) << path;
    EXPECT_EQ(spec(inception, path).initial.cut, 2) << path;
  }
  EXPECT_EQ(spec(inception, "6b.seven2.conv.weight").shape, (Shape{128, 1, 7, 128}));
  EXPECT_EQ(spec(inception, "7c.double3b.conv.weight").shape, (Shape{384, 3, 1, 384}));
  EXPECT_FLOAT_EQ(spec(alex, "conv1.weight").initial.high, 1 / std::sqrt(3.0f * 121));
  EXPECT_FLOAT_EQ(spec(alex, "fc6.weight").initial.high, 1 / std::sqrt(9216.0f));
  EXPECT_FLOAT_EQ(deviation(spec(resnet, "stage0.f.conv.weight")), std::sqrt(2.0f / (49 * 64)));
  for (const char* path : {"conv1", "conv3", "shortcut.conv"})
    EXPECT_GT(deviation(spec(resnet, str("stage3.f.unit0.", path, ".weight"))), 0) << path;
}

TEST(ImageNetworksTest, SizesThatDoNotFitAreRefused) {
  EXPECT_THROW(alexnet({.image = 62}), ConfigError);
  EXPECT_THROW(vgg16({.image = 48}), ConfigError);
  EXPECT_THROW(googlenet({.image = 30}), ConfigError);
  EXPECT_THROW(inception_v3({.image = 74}), ConfigError);
  EXPECT_THROW(densenet121({.image = 7}), ConfigError);
  EXPECT_THROW(densenet121({.width = 0}), ConfigError);
  EXPECT_THROW(alexnet({.classes = 1}), ConfigError);
  EXPECT_THROW(alexnet({.in_channels = 0}), ConfigError);
}

// The smallest images that each takes, and others of its sizes.
TEST(ImageNetworksTest, SmallAndOddImagesFit) {
  const auto logits = [](const UnitNet& net) {
    UnitNet open = net;
    open.units.push_back(module_unit(
        "end",
        [](const Init&) -> ModulePtr {
          struct Same final : Module {
            Var forward(Ctx&, const Var& x) const override { return x; }
          };
          return std::make_unique<Same>();
        },
        false, DType::kF32));
    return unit_costs(open, 2)[net.units.size() - 1].handed_on[0].shape;
  };
  ImageNetworkConfig c{.in_channels = 1, .classes = 7, .width = 1.0 / 16};
  const auto at = [&](int64_t side) {
    c.image = side;
    return c;
  };
  for (const int64_t side : {63, 64, 97}) EXPECT_EQ(logits(alexnet(at(side))), (Shape{2, 7})) << side;
  for (const int64_t side : {32, 64}) EXPECT_EQ(logits(vgg16(at(side))), (Shape{2, 7})) << side;
  for (const int64_t side : {4, 32, 36}) EXPECT_EQ(logits(googlenet(at(side))), (Shape{2, 7})) << side;
  for (const int64_t side : {75, 80, 139}) EXPECT_EQ(logits(inception_v3(at(side))), (Shape{2, 7})) << side;
  for (const int64_t side : {8, 33, 63, 64, 100}) EXPECT_EQ(logits(densenet121(at(side))), (Shape{2, 7})) << side;
}

/// Gradients by path, the loss under "", and the bytes kept.
struct Backprop {
  std::map<std::string, std::vector<double>> grads;
  int64_t kept = 0;
};
Backprop backprop(const Stream& s, const UnitNet& net) {
  const std::vector<StageNet> whole = cut(net, {});
  Arena arena(s, whole[0].init, 3);
  Ledger ledger;
  Tape tape;
  Ctx c{.stream = s,
        .weights = arena.weights(),
        .arena = arena,
        .ledger = ledger,
        .tape = &tape,
        .rng = {.seed = 7},
        .training = true};
  const Tensor x = random(s, {3, net.sample[0][1], net.sample[0][2], net.sample[0][3]}, 1);
  const Var loss = whole[0].body->forward(c, {{x}, {random_ints(s, {3}, 2, 0, 5)}}, {}, 1.0f).losses[0];
  Backprop pass{.grads = {{"", to_double(s, loss.value)}}, .kept = ledger.bytes()};
  BackwardCtx b{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
  tape.backward({{loss, {}}}, b);
  EXPECT_EQ(ledger.bytes(), 0);
  for (size_t i = 0; i < arena.specs().size(); ++i) {
    const ParamSpec& p = arena.specs()[i];
    pass.grads[p.path] = to_double(s, arena.grads().flat_view(arena.offset(int(i)), p.shape));
  }
  return pass;
}

TEST(ImageNetworksTest, CheckpointingChangesNoBitAndKeepsLess) {
  const Stream s{Device{}};
  ImageNetworkConfig c{.in_channels = 2, .image = 75, .classes = 5, .width = 1.0 / 16};
  for (const auto make : {alexnet, inception_v3, densenet121}) {
    c.recompute = false;
    const Backprop plain = backprop(s, make(c));
    c.recompute = true;
    const Backprop again = backprop(s, make(c));
    EXPECT_TRUE(again.grads == plain.grads);
    EXPECT_LT(again.kept, plain.kept);
  }
}

// Of the others the initial weights alone take seconds.
TEST(ImageNetworksTest, OneImageOfFullSizePassesThroughAllStages) {
  const Stream s{Device{}};
  for (const Published& p : published()) {
    if (p.total > 15'000'000) continue;
    SCOPED_TRACE(p.name);
    Tensor x = random(s, {1, p.image[0], p.image[1], p.image[2]}, 1);
    const std::vector<StageNet> stages = cut(p.net);
    Ledger ledger;
    for (size_t i = 0; i < stages.size(); ++i) {
      Arena arena(s, stages[i].init, 3);
      Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger};
      x = stages[i].body->infer(c, {{x}})[0].value;
      if (i + 1 < stages.size()) {
        EXPECT_EQ(x.numel(), p.boundaries[i]) << "stage " << i;
      }
    }
    double squares = 0;
    for (const double v : to_double(s, x)) squares += v * v;
    EXPECT_GT(squares, 0);
    EXPECT_TRUE(std::isfinite(squares));
  }
}

}  // namespace
}  // namespace sluice::test::image_networks_test
