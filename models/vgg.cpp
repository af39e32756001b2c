// Builds VGG's stages from layers.
#include "models/vgg.h"

#include <array>

#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"

namespace sluice {
namespace {

const std::array<std::vector<int64_t>, 4> kChannels{{{128, 256}, {256, 512}, {512}, {512}}};

void expect_valid(const VggConfig& c) {
  if (c.image < 16 || c.image % 16 != 0)
    throw ConfigError(str("vgg: image side ", c.image, ", expected a positive multiple of 16"));
  if (!(c.width > 0)) throw ConfigError(str("vgg: width ", c.width, ", expected a positive number"));
  if (c.classes < 2 || c.in_channels < 1)
    throw ConfigError(str("vgg: ", c.classes, " classes and ", c.in_channels, " channels, expected at least 2 and 1"));
}

ModulePtr conv_stage(const Init& init, const VggConfig& c, size_t stage) {
  auto net = std::make_unique<Sequential>();
  int64_t in = stage == 0 ? c.in_channels : scaled(kChannels[stage - 1].back(), c.width);
  int index = 1;
  for (const int64_t full : kChannels[stage]) {
    const int64_t out = scaled(full, c.width);
    net->add<Conv2d>(init.scope(str("conv", index)), Conv2d::Shape2d{in, out, 3}, Conv2dSpec{.stride = 1, .padding = 1},
                     false);
    net->add<BatchNorm>(init.scope(str("bn", index)), out, c.acts.f);
    in = out;
    ++index;
  }
  net->add<MaxPool>(Pool2dSpec{});
  return net;
}

std::vector<ImageSlice> slices(const VggConfig& c) {
  expect_valid(c);
  std::vector<ImageSlice> all;
  for (size_t i = 0; i < kChannels.size(); ++i) {
    const int64_t side = c.image >> (i + 1);
    all.push_back({[c, i](const Init& init) { return conv_stage(init, c, i); },
                   {side, side, scaled(kChannels[i].back(), c.width)},
                   c.dtype});
  }
  return all;
}

MakeModule classifier(const VggConfig& c) {
  return [c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    const int64_t side = c.image / 16, hidden = scaled(2500, c.width);
    net->add<Flatten>();
    net->add<Dense>(init.scope("fc1"), side * side * scaled(512, c.width), hidden, Act::kSigmoid);
    net->add<Dense>(init.scope("fc2"), hidden, c.classes);
    return net;
  };
}

}  // namespace

UnitNet vgg_units(const VggConfig& c) {
  return backprop_units({c.image, c.image, c.in_channels}, slices(c), classifier(c));
}

std::vector<StageNet> vgg_associated(const VggConfig& c) {
  return associated_stages(slices(c), {.classes = c.classes,
                                       .code = scaled(c.code, c.width),
                                       .hidden = scaled(c.bridge, c.width),
                                       .acts = c.acts,
                                       .faithful = c.faithful});
}

std::vector<StageNet> vgg_contrastive(const VggConfig& c, const ContrastiveOptions& codes) {
  return contrastive_stages(slices(c), classifier(c), nullptr, codes);
}

}  // namespace sluice
