// GoogLeNet's units: a convolution, nine inception blocks with two pools between, and a linear layer.
#include <array>

#include "layers/branches.h"
#include "layers/conv_norm.h"
#include "layers/dense.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "models/image_networks.h"

namespace sluice {
namespace {

/// Channels of an inception block's branches: 1x1; 1x1 to `reduce3`, 3x3; 1x1 to `reduce5`, twice 3x3; pool, 1x1.
struct GoogleBlock {
  const char* name;
  int64_t one, reduce3, three, reduce5, five, pooled;
};
constexpr std::array<GoogleBlock, 9> kGoogleBlocks{{{"a3", 64, 96, 128, 16, 32, 32},
                                                    {"b3", 128, 128, 192, 32, 96, 64},
                                                    {"a4", 192, 96, 208, 16, 48, 64},
                                                    {"b4", 160, 112, 224, 24, 64, 64},
                                                    {"c4", 128, 128, 256, 24, 64, 64},
                                                    {"d4", 112, 144, 288, 32, 64, 64},
                                                    {"e4", 256, 160, 320, 32, 128, 128},
                                                    {"a5", 256, 160, 320, 32, 128, 128},
                                                    {"b5", 384, 192, 384, 48, 128, 128}}};
constexpr ConvNormStyle kGoogleStyle{.bias = true, .start = ConvStart::kFanOut};

ModulePtr google_conv(const Init& init, int64_t in, int64_t out, int window) {
  return std::make_unique<ConvNorm>(init, Conv2d::Shape2d{in, out, window}, Conv2dSpec{.padding = window / 2},
                                    kGoogleStyle);
}

GoogleBlock narrowed(GoogleBlock b, double width) {
  for (int64_t* channels : {&b.one, &b.reduce3, &b.three, &b.reduce5, &b.five, &b.pooled})
    *channels = scaled(*channels, width);
  return b;
}

ModulePtr google_block(const Init& init, int64_t in, const GoogleBlock& b) {
  auto net = std::make_unique<Branches>();
  net->add(google_conv(init.scope("one"), in, b.one, 1));
  auto three = std::make_unique<Sequential>();
  three->add(google_conv(init.scope("three1"), in, b.reduce3, 1))
      .add(google_conv(init.scope("three2"), b.reduce3, b.three, 3));
  net->add(std::move(three));
  auto five = std::make_unique<Sequential>();
  five->add(google_conv(init.scope("five1"), in, b.reduce5, 1))
      .add(google_conv(init.scope("five2"), b.reduce5, b.five, 3))
      .add(google_conv(init.scope("five3"), b.five, b.five, 3));
  net->add(std::move(five));
  auto pooled = std::make_unique<Sequential>();
  pooled->add<MaxPool>(Pool2dSpec{.window = 3, .stride = 1, .padding = 1});
  pooled->add(google_conv(init.scope("pooled"), in, b.pooled, 1));
  net->add(std::move(pooled));
  return net;
}

}  // namespace

UnitNet googlenet(const ImageNetworkConfig& c) {
  UnitChain chain("googlenet", c, 4);
  if (c.image % 4 != 0) throw ConfigError(str("googlenet: images of side ", c.image, ", expected a multiple of 4"));
  int64_t in = scaled(192, c.width);
  chain.add("stem", [in, from = c.in_channels](const Init& init) { return google_conv(init, from, in, 3); });
  for (const GoogleBlock& full : kGoogleBlocks) {
    const GoogleBlock b = narrowed(full, c.width);
    const std::string name = b.name;
    if (name == "a4" || name == "a5") chain.add<MaxPool>(name == "a4" ? "pool3" : "pool4", Pool2dSpec{3, 2, 1});
    if (name == "b3" || name == "a4" || name == "c4") chain.begin_stage();
    chain.add(name, [in, b](const Init& init) { return google_block(init, in, b); });
    in = b.one + b.three + b.five + b.pooled;
  }
  chain.add("head", [in, classes = c.classes](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<GlobalAvgPool>();
    net->add<Dense>(init.scope("fc"), in, classes, Act::kNone, DenseStart::kNormal);
    return net;
  });
  return chain.take();
}

}  // namespace sluice
