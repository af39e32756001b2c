// Builds VGG's stages from layers.
#include "models/vgg.h"

#include <array>
#include <cmath>

#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

const std::array<std::vector<int64_t>, 4> kChannels{{{128, 256}, {256, 512}, {512}, {512}}};

int64_t scaled(const VggConfig& c, int64_t full) { return std::max<int64_t>(1, std::llround(double(full) * c.width)); }

void expect_valid(const VggConfig& c) {
  if (c.image < 16 || c.image % 16 != 0)
    throw ConfigError(str("vgg: image side ", c.image, ", expected a positive multiple of 16"));
  if (!(c.width > 0)) throw ConfigError(str("vgg: width ", c.width, ", expected a positive number"));
  if (c.classes < 2 || c.in_channels < 1)
    throw ConfigError(str("vgg: ", c.classes, " classes and ", c.in_channels, " channels, expected at least 2 and 1"));
}

int64_t input_channels(const VggConfig& c, size_t stage) {
  return stage == 0 ? c.in_channels : scaled(c, kChannels[stage - 1].back());
}

ModulePtr conv_stage(const Init& init, const VggConfig& c, size_t stage) {
  auto net = std::make_unique<Sequential>();
  int64_t in = input_channels(c, stage);
  int index = 1;
  for (const int64_t full : kChannels[stage]) {
    const int64_t out = scaled(c, full);
    net->add<Conv2d>(init.scope(str("conv", index)), Conv2d::Shape2d{in, out, 3}, Conv2dSpec{.stride = 1, .padding = 1},
                     false);
    net->add<BatchNorm>(init.scope(str("bn", index)), out, true);
    in = out;
    ++index;
  }
  net->add<MaxPool>(Pool2dSpec{});
  return net;
}

/// Flatten, Linear, sigmoid, Linear, sigmoid; over the whole map, or over its 4x4 averages.
ModulePtr bridge(const Init& init, const VggConfig& c, size_t stage, int64_t code) {
  auto net = std::make_unique<Sequential>();
  const int64_t channels = scaled(c, kChannels[stage].back());
  int64_t side = c.image >> (stage + 1);
  if (!c.faithful && side > 4 && side % 4 == 0) {
    const int window = int(side / 4);
    net->add<AvgPool>(Pool2dSpec{.window = window, .stride = window});
    side = 4;
  }
  const int64_t hidden = scaled(c, 1000);
  net->add<Flatten>();
  net->add<Dense>(init.scope("fc1"), side * side * channels, hidden, Act::kSigmoid);
  net->add<Dense>(init.scope("fc2"), hidden, code, Act::kSigmoid,
                  c.faithful ? DenseStart::kFanIn : DenseStart::kSpread);
  return net;
}

/// What turns the last map into logits.
ModulePtr classifier(const Init& init, const VggConfig& c) {
  auto net = std::make_unique<Sequential>();
  const int64_t side = c.image / 16, hidden = scaled(c, 2500);
  net->add<Flatten>();
  net->add<Dense>(init.scope("fc1"), side * side * scaled(c, 512), hidden, Act::kSigmoid);
  net->add<Dense>(init.scope("fc2"), hidden, c.classes);
  return net;
}

Port entry(size_t stage) { return {.name = stage == 0 ? "images" : "s"}; }

}  // namespace

std::vector<StageNet> vgg_backprop(const VggConfig& c) {
  expect_valid(c);
  std::vector<StageNet> stages;
  for (size_t i = 0; i < kChannels.size(); ++i) {
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    ModulePtr f = conv_stage(net.init.scope(net.name).scope("f"), c, i);
    net.body = std::make_unique<BackpropStage>(std::make_unique<ModuleBlock>(std::move(f), entry(i)),
                                               StagePosition{.first = i == 0, .last = false});
    stages.push_back(std::move(net));
  }
  StageNet head{.name = "stage4", .init = {}, .body = nullptr};
  ModulePtr f = classifier(head.init.scope(head.name).scope("f"), c);
  head.body = std::make_unique<BackpropStage>(std::make_unique<ModuleBlock>(std::move(f)),
                                              StagePosition{.first = false, .last = true});
  stages.push_back(std::move(head));
  return stages;
}

std::vector<StageNet> vgg_associated(const VggConfig& c) {
  expect_valid(c);
  const int64_t code = scaled(c, 700);
  const Act first_decoder = c.faithful ? Act::kSigmoid : Act::kNone;
  const DenseStart codes = c.faithful ? DenseStart::kFanIn : DenseStart::kSpread;
  std::vector<StageNet> stages;
  for (size_t i = 0; i < kChannels.size(); ++i) {
    const bool first = i == 0;
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    const Init path = net.init.scope(net.name);
    const Init encoder = path.group(kEncoderGroup), labels = path.group(kAutoencoderGroup);
    const int64_t label_in = first ? c.classes : code;
    AssociatedModules m;
    m.f = std::make_unique<ModuleBlock>(conv_stage(encoder.scope("f"), c, i), entry(i));
    m.b = bridge(encoder.scope("b"), c, i, code);
    m.g = std::make_unique<Dense>(labels.scope("g"), label_in, code, Act::kSigmoid, codes);
    m.h = std::make_unique<Dense>(labels.scope("h"), code, label_in, first ? first_decoder : Act::kSigmoid);
    if (first && !c.faithful) m.label_loss = cross_entropy_labels;
    net.body = std::make_unique<AssociatedStage>(std::move(m),
                                                 StagePosition{.first = first, .last = i + 1 == kChannels.size()},
                                                 c.classes, c.faithful ? LabelPath::kBatch : LabelPath::kClassTable);
    stages.push_back(std::move(net));
  }
  return stages;
}

std::vector<StageNet> vgg_contrastive(const VggConfig& c, Projector projector, float temperature) {
  expect_valid(c);
  std::vector<StageNet> stages;
  for (size_t i = 0; i < kChannels.size(); ++i) {
    const bool last = i + 1 == kChannels.size();
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    const Init init = net.init.scope(net.name);
    const int64_t side = c.image >> (i + 1);
    ContrastiveModules m;
    m.f = std::make_unique<ModuleBlock>(conv_stage(init.scope("f"), c, i), entry(i));
    m.projector = make_projector(init.scope("p"), projector, side * side * scaled(c, kChannels[i].back()));
    if (last) m.head = classifier(init.scope("head"), c);
    m.temperature = temperature;
    net.body = std::make_unique<ContrastiveStage>(std::move(m), StagePosition{.first = i == 0, .last = last});
    stages.push_back(std::move(net));
  }
  return stages;
}

}  // namespace sluice
