// DenseNet-121's units: a stem, 58 densely connected units in four blocks with transitions between, and a linear layer.
#include <array>

#include "layers/conv_norm.h"
#include "layers/dense.h"
#include "layers/dense_unit.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "models/image_networks.h"

namespace sluice {
namespace {

constexpr std::array<int, 4> kDenseUnits{6, 12, 24, 16};  // of the blocks

ModulePtr dense_stem(const Init& init, const ImageNetworkConfig& c, int64_t out) {
  if (c.image < 64)
    return std::make_unique<Conv2d>(init.scope("conv"), Conv2d::Shape2d{c.in_channels, out, 3},
                                    Conv2dSpec{.padding = 1}, false);
  auto net = std::make_unique<Sequential>();
  net->add<ConvNorm>(init, Conv2d::Shape2d{c.in_channels, out, 7}, Conv2dSpec{.stride = 2, .padding = 3});
  net->add<MaxPool>(Pool2dSpec{.window = 3, .stride = 2, .padding = 1});
  return net;
}

/// bn, relu, 1x1 to half the channels, 2x2 average.
ModulePtr dense_transition(const Init& init, int64_t in) {
  auto net = std::make_unique<Sequential>();
  net->add<BatchNorm>(init.scope("bn"), in, Act::kRelu);
  net->add<Conv2d>(init.scope("conv"), Conv2d::Shape2d{in, in / 2, 1}, Conv2dSpec{}, false);
  net->add<AvgPool>(Pool2dSpec{});
  return net;
}

}  // namespace

UnitNet densenet121(const ImageNetworkConfig& c) {
  UnitChain chain("densenet121", c, 8);
  const int64_t growth = scaled(32, c.width);
  int64_t in = 2 * growth;
  chain.add("stem", [c, in](const Init& init) { return dense_stem(init, c, in); });
  for (size_t b = 0; b < kDenseUnits.size(); ++b) {
    if (b > 0) {
      chain.add(str("transition", b), [in](const Init& init) { return dense_transition(init, in); });
      in /= 2;
      chain.begin_stage();
    }
    for (int u = 0; u < kDenseUnits[b]; ++u) {
      chain.add(str("block", b + 1, ".unit", u), [in, growth](const Init& init) -> ModulePtr {
        return std::make_unique<DenseUnit>(init, DenseUnitConfig{.in = in, .inner = 4 * growth, .growth = growth});
      });
      in += growth;
    }
  }
  chain.add("head", [in, classes = c.classes](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<BatchNorm>(init.scope("bn"), in, Act::kRelu);
    net->add<GlobalAvgPool>();
    net->add<Dense>(init.scope("fc"), in, classes);
    return net;
  });
  return chain.take();
}

}  // namespace sluice
