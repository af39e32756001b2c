// Every network of units trains to the same weights wherever it is cut, bit for bit, on several devices too, and the
// image networks learn a few images by heart.
#include <map>
#include <random>

#include "models/auxiliary_resnet.h"
#include "models/image_networks.h"
#include "pipeline/executor.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::cuts_test {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kFewNetworks = true;  // what threads share does not depend on the layers, and each takes a minute there
#else
constexpr bool kFewNetworks = false;
#endif
constexpr int64_t kSamples = 4;
constexpr int32_t kClasses = 3;

struct Network {
  const char* name;
  UnitNet net;
  int64_t image;
  float lr;  // with which it learns
};

std::vector<Network> networks(DType dtype = DType::kF32) {
  const auto at = [&](int64_t image, double width) {
    return ImageNetworkConfig{
        .in_channels = 1, .image = image, .classes = kClasses, .width = width, .dropout = 0.3f, .dtype = dtype};
  };
  const auto resnet = [&](int depth, ResnetRule rule) {
    return auxiliary_resnet_units({.depth = depth,
                                   .in_channels = 1,
                                   .image = 8,
                                   .classes = kClasses,
                                   .width = 1.0 / 16,
                                   .rule = rule,
                                   .stride = {2, 2, 2, 2},
                                   .dtype = dtype,
                                   .start = ConvStart::kFanOut});
  };
  std::vector<Network> all{{"alexnet", alexnet(at(63, 1.0 / 16)), 63, 3e-3f},
                           {"googlenet", googlenet(at(8, 1.0 / 16)), 8, 3e-3f}};
  if (kFewNetworks) return all;
  all.push_back({"vgg16", vgg16(at(32, 1.0 / 16)), 32, 3e-3f});
  all.push_back({"inception_v3", inception_v3(at(75, 1.0 / 16)), 75, 1e-3f});
  all.push_back({"densenet121", densenet121(at(8, 1.0 / 8)), 8, 3e-3f});
  all.push_back({"densenet121, large", densenet121(at(64, 1.0 / 16)), 64, 3e-3f});
  all.push_back({"resnet50", resnet(50, ResnetRule::kBackprop), 8, 3e-3f});
  all.push_back({"resnet18, groups", resnet(18, ResnetRule::kResidual), 8, 3e-3f});
  return all;
}

/// The same images with the same labels in every micro-batch.
Feed feed(int64_t image) {
  return [image](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& port : r.ports)
      parcel.values.push_back(port.name == "labels" ? random_ints(r.stream, {kSamples}, 7, 0, kClasses)
                                                    : random(r.stream, {kSamples, image, image, 1}, 8));
    return parcel;
  };
}

struct Trial {
  std::map<std::string, std::vector<float>> weights;  // by path, running statistics too
  std::vector<float> losses;                          // by step
};

Trial trained(const Network& n, const std::vector<int>& cuts, PlanOptions plan, int64_t steps) {
  Trial trial;
  plan.lr = n.lr;
  Trained t = make_trained(cut(n.net, cuts), plan);
  RunOptions o = run_options(steps, kSamples);
  o.feed = feed(n.image);
  o.on_losses = [&](const StepLosses& l) {
    if (!l.values.empty()) trial.losses.push_back(l.values[0]);
  };
  execute(t.pipeline, o);
  for (const StagePtr& s : t.pipeline.stages) {
    const Arena& a = s->arena;
    for (size_t i = 0; i < a.specs().size(); ++i)
      trial.weights[a.specs()[i].path] =
          a.values().flat_view(a.offset(int(i)), a.specs()[i].shape).to_vector<float>(s->stream);
    for (size_t i = 0; i < a.buffer_specs().size(); ++i)
      trial.weights[a.buffer_specs()[i].path] =
          a.buffers().flat_view(a.buffer_offset(int(i)), a.buffer_specs()[i].shape).to_vector<float>(s->stream);
  }
  return trial;
}

/// `stages` stages that begin anywhere.
std::vector<int> random_cuts(const UnitNet& net, size_t stages, std::mt19937& draws) {
  std::vector<int> cuts = all_cuts(net);
  std::shuffle(cuts.begin(), cuts.end(), draws);
  cuts.resize(std::min(cuts.size(), stages - 1));
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

class Cuts : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Cuts, testing::ValuesIn(test_places()), place_label);

TEST_P(Cuts, GiveTheWeightsOfOneStage) {
  std::mt19937 draws(3);
  for (const Network& n : networks()) {
    if (GetParam() != Where::kCpu && n.name != std::string("googlenet")) continue;  // an emulated GPU takes its time
    SCOPED_TRACE(n.name);
    const PlanOptions alone{.schedule = "one_device", .placement = {0}, .mbs = 2, .where = GetParam()};
    const Trial expected = trained(n, {}, alone, 2);
    const auto expect_same = [&](const std::vector<int>& cuts, const char* schedule, int devices) {
      Placement placement;
      const int stages = int(cuts.size()) + 1;
      for (int s = 0; s < stages; ++s) placement.push_back(s * devices / stages);
      const Trial t =
          trained(n, cuts, {.schedule = schedule, .placement = placement, .mbs = 2, .where = GetParam()}, 2);
      EXPECT_EQ(t.losses, expected.losses) << schedule << " " << stages << " stages";
      EXPECT_TRUE(t.weights == expected.weights) << schedule << " " << stages << " stages";
    };
    expect_same(n.net.cuts, "one_f_one_b", int(n.net.cuts.size()) + 1);
    expect_same(all_cuts(n.net), "one_device", 1);
    expect_same(all_cuts(n.net), "gpipe", 3);
    expect_same(random_cuts(n.net, 3, draws), "zb_h1", 3);
    expect_same(random_cuts(n.net, 5, draws), "one_f_one_b", 5);
  }
}

TEST(ImageNetworks, LearnAFewImagesByHeart) {
  for (const DType t : product_dtypes(Stream(Device{})))
    for (const Network& n : networks(t)) {
      if (t != DType::kF32 && n.name != std::string("googlenet") && n.name != std::string("densenet121")) continue;
      SCOPED_TRACE(testing::Message() << n.name << " " << name(t));
      const PlanOptions plan{.schedule = "one_device", .placement = all_on_one(int(n.net.cuts.size()) + 1)};
      const std::vector<float> losses = trained(n, n.net.cuts, plan, 30).losses;
      ASSERT_EQ(losses.size(), 30u);
      EXPECT_LT(losses.back(), 0.5f * losses.front());
    }
}

}  // namespace
}  // namespace sluice::test::cuts_test
