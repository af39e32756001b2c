// Builds ResNet-18's stages from layers.
#include "models/resnet.h"

#include <algorithm>
#include <cmath>

#include "layers/dense.h"
#include "layers/pool.h"
#include "layers/residual_block.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

void expect_valid(const ResnetConfig& c) {
  if (c.image < 8 || c.image % 8 != 0)
    throw ConfigError(str("resnet18: image side ", c.image, ", expected a positive multiple of 8"));
  if (!(c.width > 0)) throw ConfigError(str("resnet18: width ", c.width, ", expected a positive number"));
  if (c.classes < 2 || c.in_channels < 1)
    throw ConfigError(
        str("resnet18: ", c.classes, " classes and ", c.in_channels, " channels, expected at least 2 and 1"));
}

void expect_stage(int i) {
  if (i < 0 || i >= kResnet18Stages)
    throw ConfigError(str("resnet18: stage ", i, ", expected one in [0, ", kResnet18Stages, ")"));
}

/// How often the image was halved when stage i is done.
int halvings(int i) { return std::max(0, i - 1); }

/// Channels that stage i hands on.
int64_t channels(const ResnetConfig& c, int i) {
  return std::max<int64_t>(1, std::llround(double(int64_t(64) << halvings(i)) * c.width));
}

}  // namespace

ModulePtr resnet18_stage(const Init& init, const ResnetConfig& c, int i) {
  expect_valid(c);
  expect_stage(i);
  auto net = std::make_unique<Sequential>();
  const int64_t out = channels(c, i);
  if (i == 0) {
    net->add<Conv2d>(init.scope("conv"), Conv2d::Shape2d{c.in_channels, out, 3}, Conv2dSpec{.stride = 1, .padding = 1},
                     false);
    net->add<BatchNorm>(init.scope("bn"), out, true);
    return net;
  }
  net->add<BasicBlock>(init.scope("block1"), channels(c, i - 1), out, i == 1 ? 1 : 2);
  net->add<BasicBlock>(init.scope("block2"), out, out);
  return net;
}

Shape resnet18_stage_output(const ResnetConfig& c, int i) {
  expect_valid(c);
  expect_stage(i);
  const int64_t side = c.image >> halvings(i);
  return {side, side, channels(c, i)};
}

std::vector<StageNet> resnet18_backprop(const ResnetConfig& c) {
  std::vector<StageNet> stages;
  for (int i = 0; i < kResnet18Stages; ++i) {
    StageNet net{.name = str("stage", i), .init = {}, .body = nullptr};
    ModulePtr f = resnet18_stage(net.init.scope(net.name).scope("f"), c, i);
    net.body = std::make_unique<BackpropStage>(std::move(f), StagePosition{.first = i == 0, .last = false});
    stages.push_back(std::move(net));
  }
  StageNet head{.name = str("stage", kResnet18Stages), .init = {}, .body = nullptr};
  auto f = std::make_unique<Sequential>();
  f->add<GlobalAvgPool>();
  f->add<Dense>(head.init.scope(head.name).scope("f").scope("fc"), channels(c, kResnet18Stages - 1), c.classes);
  head.body = std::make_unique<BackpropStage>(std::move(f), StagePosition{.first = false, .last = true});
  stages.push_back(std::move(head));
  return stages;
}

}  // namespace sluice
