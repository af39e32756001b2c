// What the last stage of a network trained end to end compares its logits with: smoothed labels, and two of them.
#include <cmath>

#include "layers/dense.h"
#include "models/vgg.h"
#include "pipeline/inference.h"
#include "tests/support/support.h"

namespace sluice::test::class_loss_test {
namespace {

using ClassLossTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ClassLossTest, testing::ValuesIn(test_devices()), device_label);

std::vector<std::string> names(const std::vector<Port>& ports) {
  std::vector<std::string> all;
  for (const Port& p : ports) all.push_back(p.name);
  return all;
}

/// One stage from 3 values to 4 classes.
struct OneStage {
  explicit OneStage(const Stream& on) : stream(on), stage(block(init), {}), arena(on, init, 5) {}
  static BlockPtr block(const Init& init) {
    return std::make_unique<ModuleBlock>(std::make_unique<Dense>(init, 3, 4), Port{.name = "images"});
  }
  Ctx ctx() { return {.stream = stream, .weights = arena.weights(), .arena = arena, .ledger = ledger}; }
  double loss(const Bundle& feed, float weight) {
    Ctx c = ctx();
    return to_double(stream, stage.forward(c, feed, {}, weight).losses.at(0).value).at(0);
  }
  std::vector<double> logits(const Tensor& x) {
    Ctx c = ctx();
    return to_double(stream, stage.head(c, stage.infer(c, {{x}})).value);
  }

  Stream stream;
  Init init;
  BackpropStage stage;
  Arena arena;
  Ledger ledger;
};

TEST_P(ClassLossTest, LogitsAreComparedWithWhatTheLossSays) {
  const Stream s(device());
  OneStage one(s);
  const std::vector<int32_t> first{0, 3, 2, 1, 1}, second{3, 3, 0, 2, 0};
  const std::vector<float> share{0.25f, 0.5f, 1.0f, 0.0f, 0.75f};
  const Tensor x = random(s, {5, 3}, 1), labels = Tensor::from<int32_t>(s, first, {5}),
               labels2 = Tensor::from<int32_t>(s, second, {5}), shares = Tensor::from<float>(s, share, {5});
  const std::vector<double> z = one.logits(x);
  for (const float smoothing : {0.0f, 0.1f})
    for (const bool mixed : {false, true}) {
      SCOPED_TRACE(testing::Message() << smoothing << (mixed ? " mixed" : ""));
      one.stage.train_on({.smoothing = smoothing, .mixed = mixed});
      double expected = 0;
      for (size_t b = 0; b < 5; ++b) {
        double sum = 0;
        for (size_t k = 0; k < 4; ++k) sum += std::exp(z[b * 4 + k]);
        for (size_t k = 0; k < 4; ++k) {
          const auto q = [&](int32_t label) {
            return int32_t(k) == label ? 1 - double(smoothing) : double(smoothing) / 3;
          };
          const double target =
              mixed ? double(share[b]) * q(first[b]) + (1 - double(share[b])) * q(second[b]) : q(first[b]);
          expected -= 0.5 / 5 * target * (z[b * 4 + k] - std::log(sum));
        }
      }
      Bundle feed{{x}, {labels}};
      if (mixed) feed.insert(feed.end(), {{labels2}, {shares}});
      EXPECT_NEAR(one.loss(feed, 0.5f), expected, 1e-5);
    }
}

TEST_P(ClassLossTest, MixedSamplesNeedTwoMorePortsInTrainingOnly) {
  OneStage one(Stream{device()});
  EXPECT_EQ(names(one.stage.feed_ports()), (std::vector<std::string>{"images", "labels"}));
  one.stage.train_on({.mixed = true});
  EXPECT_EQ(names(one.stage.feed_ports()), (std::vector<std::string>{"images", "labels", "labels2", "share"}));
  EXPECT_EQ(names(inference_ports(one.stage)), (std::vector<std::string>{"images", "labels"}));
}

TEST(TrainOn, IsTheBusinessOfTheLastStageAndRefusedByLocalLosses) {
  const std::vector<StageNet> net = vgg_backprop({.width = 0.01});
  train_on(net, {.smoothing = 0.1f, .mixed = true});
  EXPECT_EQ(names(net.front().body->feed_ports()), (std::vector<std::string>{"images"}));
  EXPECT_EQ(names(net.back().body->feed_ports()), (std::vector<std::string>{"labels", "labels2", "share"}));
  std::vector<StageNet> locals[] = {vgg_associated({.width = 0.01}), vgg_contrastive({.width = 0.01})};
  for (const std::vector<StageNet>& local : locals) {
    EXPECT_NO_THROW(train_on(local, {}));
    EXPECT_THROW(train_on(local, {.mixed = true}), ConfigError);
    EXPECT_THROW(train_on(local, {.smoothing = 0.1f}), ConfigError);
  }
}

}  // namespace
}  // namespace sluice::test::class_loss_test
