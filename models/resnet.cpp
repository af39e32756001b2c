// Builds ResNet-18's stages from layers.
#include "models/resnet.h"

#include <algorithm>

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

/// How often the image was halved when stage i is done.
int halvings(int i) { return std::max(0, i - 1); }

/// Channels that stage i hands on.
int64_t channels(const ResnetConfig& c, int i) { return scaled(int64_t(64) << halvings(i), c.width); }

ModulePtr stage(const Init& init, const ResnetConfig& c, int i) {
  auto net = std::make_unique<Sequential>();
  const int64_t out = channels(c, i);
  if (i == 0) {
    net->add<Conv2d>(init.scope("conv"), Conv2d::Shape2d{c.in_channels, out, 3}, Conv2dSpec{.stride = 1, .padding = 1},
                     false);
    net->add<BatchNorm>(init.scope("bn"), out, c.acts.f);
    return net;
  }
  net->add<BasicBlock>(init.scope("block1"), channels(c, i - 1), out, i == 1 ? 1 : 2, c.acts.f);
  net->add<BasicBlock>(init.scope("block2"), out, out, 1, c.acts.f);
  return net;
}

constexpr int kStages = 5;

MakeModule classifier(const ResnetConfig& c) {
  return [c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<GlobalAvgPool>();
    net->add<Dense>(init.scope("fc"), channels(c, kStages - 1), c.classes);
    return net;
  };
}

/// Behind global_mean().
MakeModule linear(const ResnetConfig& c) {
  return [c](const Init& init) -> ModulePtr {
    return std::make_unique<Dense>(init.scope("fc"), channels(c, kStages - 1), c.classes);
  };
}
Var global_mean(Ctx& c, const Bundle& s) { return GlobalAvgPool().forward(c, s[0]); }

}  // namespace

std::vector<ImageSlice> resnet18_slices(const ResnetConfig& c) {
  expect_valid(c);
  std::vector<ImageSlice> all;
  for (int i = 0; i < kStages; ++i) {
    const int64_t side = c.image >> halvings(i);
    all.push_back({[c, i](const Init& init) { return stage(init, c, i); }, {side, side, channels(c, i)}, c.dtype});
  }
  return all;
}

UnitNet resnet18_units(const ResnetConfig& c) {
  return backprop_units({c.image, c.image, c.in_channels}, resnet18_slices(c), classifier(c));
}

std::vector<StageNet> resnet18_associated(const ResnetConfig& c) {
  return associated_stages(resnet18_slices(c), {.classes = c.classes,
                                                .code = scaled(c.code, c.width),
                                                .hidden = scaled(c.bridge, c.width),
                                                .acts = c.acts,
                                                .faithful = c.faithful});
}

std::vector<StageNet> resnet18_contrastive(const ResnetConfig& c, const ContrastiveOptions& codes) {
  std::vector<ImageSlice> parts = resnet18_slices(c);
  parts[1].f = [c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add(stage(init.scope("stem"), c, 0));
    net->add(stage(init, c, 1));
    return net;
  };
  parts.erase(parts.begin());
  return contrastive_stages(parts, linear(c), global_mean, codes);
}

}  // namespace sluice
