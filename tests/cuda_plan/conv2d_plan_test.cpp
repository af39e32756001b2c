// cuDNN itself judges the convolution descriptors, for GPUs that are described and need not be there.
#include "kernels/conv2d_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/resnet.h"
#include "models/vgg.h"

namespace sluice::kernels {
namespace {

/// What cuDNN asks of a device; the rest is the same for both.
std::string device(const char* name, int version, int multiprocessors, int shared_optin, int64_t l2) {
  return str(R"({"maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
    "warpSize": 32, "maxSharedMemoryPerBlock": 49152, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
    "pciDeviceId": 0, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "isTccDriver": 0,
    "supportCoopLaunch": 1, "smClockRateKHz": 1410000, "memClockRateKHz": 1215000, "totalGlobalMem": 40000000000,
    "driverVer": 13000, "cudaDeviceId": 0, "deviceName": ")",
             name, R"(", "deviceVer": )", version, R"(, "multiProcessorCount": )", multiprocessors,
             R"(, "maxSharedMemoryPerBlockOptin": )", shared_optin, R"(, "maxSharedMemoryPerSM": )",
             shared_optin + 1024, R"(, "l2CacheSize": )", l2, "}");
}
const std::string kA100 = device("NVIDIA A100-SXM4-40GB", 800, 108, 166912, 41943040);
const std::string kH100 = device("NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800);

struct Case {
  Shape x, w;
  Conv2dGeometry geometry;
};
const std::vector<Case> kAwkward{
    {{128, 32, 32, 8}, {16, 3, 3, 8}, {1, 1, 1}}, {{4, 56, 56, 64}, {256, 1, 1, 64}, {2, 0, 1}},
    {{2, 7, 5, 3}, {5, 3, 3, 3}, {2, 1, 1}},      {{2, 8, 8, 8}, {8, 3, 3, 1}, {1, 1, 8}},
    {{2, 9, 9, 6}, {4, 3, 3, 3}, {1, 1, 2}},      {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 0, 1}},
};
const Case kPlain{{128, 32, 32, 64}, {128, 3, 3, 64}, {1, 1, 1}};

/// The convolutions of VGG, from what the model declares: stage i sees images halved i times.
std::vector<Case> vgg_cases(const VggConfig& config, int64_t batch) {
  std::vector<Case> cases;
  const std::vector<StageNet> nets = vgg_backprop(config);
  for (size_t stage = 0; stage < nets.size(); ++stage)
    for (const ParamSpec& p : nets[stage].init.params())
      if (p.shape.rank() == 4)
        cases.push_back({{batch, config.image >> stage, config.image >> stage, p.shape[3]}, p.shape, {1, 1, 1}});
  return cases;
}

/// The different convolutions of ResNet-18: a stage that changes the channels of blocks halves its image in its first
/// block.
std::vector<Case> resnet_cases(const ResnetConfig& config, int64_t batch) {
  std::vector<Case> cases;
  const std::vector<ImageSlice> slices = resnet18_slices(config);
  for (size_t stage = 0; stage < slices.size(); ++stage) {
    Init init;
    slices[stage].f(init.scope("f"));
    const int64_t in = stage == 0 ? config.image : slices[stage - 1].map[0];
    const int64_t out = slices[stage].map[0];
    for (const ParamSpec& p : init.params()) {
      if (p.shape.rank() != 4) continue;
      const bool first = p.path == "f.block1.conv1.weight" || p.path == "f.block1.shortcut.conv.weight";
      const int64_t side = first ? in : out;
      const Case c{{batch, side, side, p.shape[3]}, p.shape, {int(side / out), 1, 1}};
      if (std::none_of(cases.begin(), cases.end(), [&](const Case& other) { return other.x == c.x && other.w == c.w; }))
        cases.push_back(c);
    }
  }
  return cases;
}

/// Every shape that a model of ours uses, and shapes that a user's may.
std::vector<Case> all_cases() {
  std::vector<Case> all = kAwkward;
  for (const VggConfig& config : {VggConfig{}, VggConfig{.in_channels = 1, .width = 0.125}})
    for (const int64_t batch : {32, 128})
      for (const Case& c : vgg_cases(config, batch)) all.push_back(c);
  for (const ResnetConfig& config : {ResnetConfig{}, ResnetConfig{.in_channels = 1, .width = 0.125}})
    for (const int64_t batch : {32, 128})
      for (const Case& c : resnet_cases(config, batch)) all.push_back(c);
  return all;
}

ConvProblem problem(const Case& c, ConvDirection direction, DType dtype, int alignment = 16) {
  const Conv2dGeometry& g = c.geometry;
  const Shape y{c.x[0], g.rows(c.x[1], c.w[1]), g.columns(c.x[2], c.w[2]), c.w[0]};
  return {direction, c.x, c.w, y, dtype, dtype, g, alignment};
}

TEST(Conv2dPlanTest, CudnnPlansEveryDirectionShapeAndDtype) {
  for (const std::string& gpu : {kA100, kH100})
    for (const Case& c : all_cases())
      for (const ConvDirection direction :
           {ConvDirection::kForward, ConvDirection::kGradInput, ConvDirection::kGradWeight})
        for (const DType dtype : {DType::kF32, DType::kBF16}) {
          const ConvProblem p = problem(c, direction, dtype);
          SCOPED_TRACE(p.text());
          const ConvPlan plan = make_conv_plan(p, {nullptr, gpu});
          EXPECT_NE(plan.plan, nullptr);
          EXPECT_GE(plan.workspace, 0);
          EXPECT_GE(plan.engine, 0);
        }
}

TEST(Conv2dPlanTest, OperandsNeedNoMoreAlignmentThanTheirElements) {
  for (const Case& c : kAwkward)
    EXPECT_NO_THROW(make_conv_plan(problem(c, ConvDirection::kForward, DType::kF32, 4), {nullptr, kH100}));
}

TEST(Conv2dPlanTest, TheModelsConvolutionsAreFound) {
  EXPECT_EQ(vgg_cases({}, 1).size(), 6u);
  EXPECT_EQ(vgg_cases({}, 1).back().x, (Shape{1, 4, 4, 512}));
  const std::vector<Case> resnet = resnet_cases({}, 1);
  ASSERT_EQ(resnet.size(), 8u);  // the stem, one shape in each of four pairs of blocks, and three that halve the image
  EXPECT_EQ(resnet.back().x, (Shape{1, 4, 4, 512}));
  EXPECT_EQ(std::count_if(resnet.begin(), resnet.end(), [](const Case& c) { return c.geometry.stride == 2; }), 3);
}

TEST(Conv2dPlanTest, CudnnRefusesAnOutputOfTheWrongShape) {
  ConvProblem p = problem(kPlain, ConvDirection::kForward, DType::kF32);
  p.y = {128, 31, 32, 128};
  EXPECT_THROW(make_conv_plan(p, {nullptr, kH100}), DeviceError);
}

TEST(Conv2dPlanTest, KeysDifferWhereProblemsDo) {
  const ConvProblem p = problem(kPlain, ConvDirection::kForward, DType::kF32);
  EXPECT_EQ(p.key(), problem(kPlain, ConvDirection::kForward, DType::kF32).key());
  EXPECT_NE(p.key(), problem(kPlain, ConvDirection::kGradInput, DType::kF32).key());
  EXPECT_NE(p.key(), problem(kPlain, ConvDirection::kForward, DType::kBF16).key());
  EXPECT_NE(p.key(), problem(kPlain, ConvDirection::kForward, DType::kF32, 4).key());
  EXPECT_NE(p.key(), problem(kAwkward[0], ConvDirection::kForward, DType::kF32).key());
}

}  // namespace
}  // namespace sluice::kernels
