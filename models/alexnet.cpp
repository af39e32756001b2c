// AlexNet's units: five convolutions, three pools, three linear layers.
#include <array>

#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "models/image_networks.h"

namespace sluice {
namespace {

constexpr Pool2dSpec kAlexPool{.window = 3, .stride = 2};

struct AlexConv {
  int64_t out;
  int window, stride, padding;
  bool begins, pool;  // a stage begins with it; a pool is behind it
};
constexpr std::array<AlexConv, 5> kAlexConvs{{{64, 11, 4, 2, false, true},
                                              {192, 5, 1, 2, true, true},
                                              {384, 3, 1, 1, true, false},
                                              {256, 3, 1, 1, false, false},
                                              {256, 3, 1, 1, false, true}}};

/// Dropout, Linear, ReLU.
MakeModule alex_linear(int64_t in, int64_t out, float dropout) {
  return [=](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<Dropout>(init.scope("dropout"), dropout);
    net->add<Flatten>();
    net->add<Dense>(init, in, out, Act::kRelu);
    return net;
  };
}

}  // namespace

UnitNet alexnet(const ImageNetworkConfig& c) {
  UnitChain chain("alexnet", c, 63);
  int64_t in = c.in_channels, side = c.image;
  for (size_t k = 1; k <= kAlexConvs.size(); ++k) {
    const AlexConv conv = kAlexConvs[k - 1];
    const int64_t out = scaled(conv.out, c.width);
    if (conv.begins) chain.begin_stage();
    chain.add(str("conv", k), [in, out, conv](const Init& init) -> ModulePtr {
      auto net = std::make_unique<Sequential>();
      net->add<Conv2d>(init, Conv2d::Shape2d{in, out, conv.window},
                       Conv2dSpec{.stride = conv.stride, .padding = conv.padding});
      net->add<Activate>(Act::kRelu);
      return net;
    });
    in = out;
    side = (side + 2 * conv.padding - conv.window) / conv.stride + 1;
    if (!conv.pool) continue;
    if (k == kAlexConvs.size()) chain.begin_stage();
    chain.add<MaxPool>(str("pool", k), kAlexPool);
    side = (side - kAlexPool.window) / kAlexPool.stride + 1;
  }
  const int64_t hidden = scaled(4096, c.width);
  chain.add("fc6", alex_linear(side * side * in, hidden, c.dropout));
  chain.add("fc7", alex_linear(hidden, hidden, c.dropout));
  chain.add("fc8", [hidden, classes = c.classes](const Init& init) -> ModulePtr {
    return std::make_unique<Dense>(init, hidden, classes);
  });
  return chain.take();
}

}  // namespace sluice
