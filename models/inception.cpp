// Inception-V3's units: five convolutions with two pools, eleven blocks of five kinds, and a linear layer.
#include "layers/branches.h"
#include "layers/conv_norm.h"
#include "layers/dense.h"
#include "layers/pointwise.h"
#include "layers/pool.h"
#include "layers/sequential.h"
#include "models/image_networks.h"

namespace sluice {
namespace {

constexpr ConvNormStyle kInceptionStyle{.start = ConvStart::kTruncated, .eps = 1e-3f};
constexpr Pool2dSpec kHalving{.window = 3, .stride = 2};

/// A convolution, before it is made. Padding keeps the image's size unless `valid`.
struct InceptionStep {
  const char* name;
  int64_t out;  // before the network's width
  ByAxis window = 1;
  int stride = 1;
  bool valid = false;
};

ModulePtr inception_conv(const Init& init, int64_t in, int64_t out, const InceptionStep& s) {
  const ByAxis padding = s.valid ? ByAxis(0) : ByAxis(s.window.rows / 2, s.window.columns / 2);
  return std::make_unique<ConvNorm>(init, Conv2d::Shape2d{in, out, s.window},
                                    Conv2dSpec{.stride = s.stride, .padding = padding}, kInceptionStyle);
}

/// Makes the layers of one block.
class InceptionMaker {
 public:
  InceptionMaker(const Init& init, double width) : init_(init), width_(width) {}
  int64_t channels(int64_t full) const { return scaled(full, width_); }
  ModulePtr conv(int64_t in, const InceptionStep& s) const {
    return inception_conv(init_.scope(s.name), in, channels(s.out), s);
  }
  ModulePtr row(int64_t in, const std::vector<InceptionStep>& steps) const {
    auto net = std::make_unique<Sequential>();
    for (const InceptionStep& s : steps) {
      net->add(conv(in, s));
      in = channels(s.out);
    }
    return net;
  }
  ModulePtr averaged(int64_t in, int64_t out) const {
    auto net = std::make_unique<Sequential>();
    net->add<AvgPool>(Pool2dSpec{.window = 3, .stride = 1, .padding = 1});
    net->add(conv(in, {"pool", out}));
    return net;
  }

 private:
  Init init_;
  double width_;
};

using MakeInception = std::function<ModulePtr(const InceptionMaker& m, int64_t in)>;

/// 35 x 35; `pooled` channels behind the average pool.
MakeInception block_a(int64_t pooled) {
  return [pooled](const InceptionMaker& m, int64_t in) -> ModulePtr {
    auto net = std::make_unique<Branches>();
    net->add(m.conv(in, {"one", 64}));
    net->add(m.row(in, {{"five1", 48}, {"five2", 64, 5}}));
    net->add(m.row(in, {{"three1", 64}, {"three2", 96, 3}, {"three3", 96, 3}}));
    net->add(m.averaged(in, pooled));
    return net;
  };
}
/// To 17 x 17.
ModulePtr block_b(const InceptionMaker& m, int64_t in) {
  auto net = std::make_unique<Branches>();
  net->add(m.conv(in, {"three", 384, 3, 2, true}));
  net->add(m.row(in, {{"double1", 64}, {"double2", 96, 3}, {"double3", 96, 3, 2, true}}));
  net->add(std::make_unique<MaxPool>(kHalving));
  return net;
}
/// 17 x 17; `inner` channels within the 7x7 branches.
MakeInception block_c(int64_t inner) {
  return [inner](const InceptionMaker& m, int64_t in) -> ModulePtr {
    const ByAxis across{1, 7}, down{7, 1};
    auto net = std::make_unique<Branches>();
    net->add(m.conv(in, {"one", 192}));
    net->add(m.row(in, {{"seven1", inner}, {"seven2", inner, across}, {"seven3", 192, down}}));
    net->add(m.row(in, {{"double1", inner},
                        {"double2", inner, down},
                        {"double3", inner, across},
                        {"double4", inner, down},
                        {"double5", 192, across}}));
    net->add(m.averaged(in, 192));
    return net;
  };
}
/// To 8 x 8.
ModulePtr block_d(const InceptionMaker& m, int64_t in) {
  auto net = std::make_unique<Branches>();
  net->add(m.row(in, {{"three1", 192}, {"three2", 320, 3, 2, true}}));
  net->add(m.row(in, {{"seven1", 192}, {"seven2", 192, {1, 7}}, {"seven3", 192, {7, 1}}, {"seven4", 192, 3, 2, true}}));
  net->add(std::make_unique<MaxPool>(kHalving));
  return net;
}
/// 8 x 8; a 3x3 is a 1x3 and a 3x1 side by side.
ModulePtr block_e(const InceptionMaker& m, int64_t in) {
  const auto ends = [&](const char* across, const char* down) {
    std::vector<ModulePtr> both;
    both.push_back(m.conv(m.channels(384), {across, 384, {1, 3}}));
    both.push_back(m.conv(m.channels(384), {down, 384, {3, 1}}));
    return both;
  };
  auto net = std::make_unique<Branches>();
  net->add(m.conv(in, {"one", 320}));
  net->add(m.conv(in, {"three1", 384}), ends("three2a", "three2b"));
  net->add(m.row(in, {{"double1", 448}, {"double2", 384, 3}}), ends("double3a", "double3b"));
  net->add(m.averaged(in, 192));
  return net;
}

struct InceptionBlock {
  const char* name;
  MakeInception make;
  std::vector<int64_t> out;  // channels of the results; 0: those of x
};
std::vector<InceptionBlock> inception_blocks() {
  return {{"5b", block_a(32), {64, 64, 96, 32}},
          {"5c", block_a(64), {64, 64, 96, 64}},
          {"5d", block_a(64), {64, 64, 96, 64}},
          {"6a", block_b, {384, 96, 0}},
          {"6b", block_c(128), {192, 192, 192, 192}},
          {"6c", block_c(160), {192, 192, 192, 192}},
          {"6d", block_c(160), {192, 192, 192, 192}},
          {"6e", block_c(192), {192, 192, 192, 192}},
          {"7a", block_d, {320, 192, 0}},
          {"7b", block_e, {320, 384, 384, 384, 384, 192}},
          {"7c", block_e, {320, 384, 384, 384, 384, 192}}};
}

}  // namespace

UnitNet inception_v3(const ImageNetworkConfig& c) {
  UnitChain chain("inception_v3", c, 75);
  int64_t in = c.in_channels;
  const auto add = [&](const InceptionStep& s) {
    const int64_t out = scaled(s.out, c.width);
    chain.add(s.name, [in, out, s](const Init& init) { return inception_conv(init, in, out, s); });
    in = out;
  };
  add({"1a", 32, 3, 2, true});
  add({"2a", 32, 3, 1, true});
  add({"2b", 64, 3});
  chain.add<MaxPool>("pool2", kHalving);
  add({"3b", 80});
  add({"4a", 192, 3, 1, true});
  chain.add<MaxPool>("pool4", kHalving);
  for (const InceptionBlock& b : inception_blocks()) {
    const std::string name = b.name;
    if (name == "5b" || name == "6b" || name == "6e") chain.begin_stage();
    chain.add(name, [in, make = b.make, w = c.width](const Init& init) { return make(InceptionMaker(init, w), in); });
    int64_t out = 0;
    for (const int64_t channels : b.out) out += channels == 0 ? in : scaled(channels, c.width);
    in = out;
  }
  chain.add("head", [in, c](const Init& init) -> ModulePtr {
    auto net = std::make_unique<Sequential>();
    net->add<GlobalAvgPool>();
    net->add<Dropout>(init.scope("dropout"), c.dropout);
    net->add<Dense>(init.scope("fc"), in, c.classes, Act::kNone, DenseStart::kTruncated);
    return net;
  });
  return chain.take();
}

}  // namespace sluice
