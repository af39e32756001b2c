// VGG-16's units: thirteen convolutions with batch norm, five pools, one linear layer.
#include <array>

#include "layers/conv_norm.h"
#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "models/image_networks.h"

namespace sluice {
namespace {

struct VggGroup {
  int convs;
  int64_t channels;
};
constexpr std::array<VggGroup, 5> kVggGroups{{{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}}};
constexpr ConvNormStyle kVggStyle{.bias = true, .start = ConvStart::kFanOut};

}  // namespace

UnitNet vgg16(const ImageNetworkConfig& c) {
  UnitChain chain("vgg16", c, 32);
  if (c.image % 32 != 0) throw ConfigError(str("vgg16: images of side ", c.image, ", expected a multiple of 32"));
  int64_t in = c.in_channels;
  for (size_t g = 0; g < kVggGroups.size(); ++g) {
    const int64_t out = scaled(kVggGroups[g].channels, c.width);
    if (g == 1) chain.begin_stage();
    for (int k = 1; k <= kVggGroups[g].convs; ++k) {
      chain.add(str("conv", g + 1, "_", k), [in, out](const Init& init) -> ModulePtr {
        return std::make_unique<ConvNorm>(init, Conv2d::Shape2d{in, out, 3}, Conv2dSpec{.padding = 1}, kVggStyle);
      });
      in = out;
    }
    if (g == 2 || g == 3) chain.begin_stage();
    chain.add<MaxPool>(str("pool", g + 1), Pool2dSpec{});
  }
  const int64_t features = (c.image / 32) * (c.image / 32) * in, classes = c.classes;
  chain.add("fc", [features, classes](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<Flatten>();
    net->add<Dense>(init, features, classes, Act::kNone, DenseStart::kNormal);
    return net;
  });
  return chain.take();
}

}  // namespace sluice
