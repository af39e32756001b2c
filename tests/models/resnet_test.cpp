// ResNet-18's parameter counts against the published ones, shapes between its stages, and one pass through all of it.
#include "models/resnet.h"

#include <cmath>

#include "models/report.h"
#include "tests/models/counts.h"
#include "tests/support/support.h"

namespace sluice::test::resnet_test {
namespace {

TEST(ResnetTest, EveryStageHasThePublishedParameterCount) {
  const std::vector<StageNet> nets = resnet18_backprop({.classes = 200});
  const int64_t f[] = {1'856, 147'968, 591'104, 2'361'856, 9'442'304, 102'600};
  ASSERT_EQ(nets.size(), 6u);
  for (size_t i = 0; i < nets.size(); ++i) {
    EXPECT_EQ(count(nets[i].init), f[i]) << "stage " << i;
  }
}

TEST(ResnetTest, TheWholeHasThePublishedParameterCount) {
  for (const auto& [classes, expected] :
       std::vector<std::pair<int64_t, int64_t>>{{200, 12'647'688}, {10, 12'550'218}, {100, 12'596'388}}) {
    EXPECT_EQ(total(resnet18_backprop({.classes = classes})), expected) << classes << " classes";
  }
}

TEST(ResnetTest, AssociatedAndContrastiveHaveThePublishedParameterCounts) {
  const std::vector<StageNet> nets = resnet18_associated({.classes = 200, .faithful = true});
  EXPECT_EQ(total(nets), 208'676'088);
  const int64_t b[] = {66'237'700, 66'237'700, 33'469'700, 17'085'700, 8'893'700};
  ASSERT_EQ(nets.size(), 5u);
  int64_t effective = 0, affiliate = 0;
  const std::vector<StageParams> report = parameter_report(nets);
  for (size_t i = 0; i < nets.size(); ++i) {
    EXPECT_EQ(count(nets[i].init, nets[i].name + ".b."), b[i]);
    effective += report[i].effective;
    affiliate += report[i].affiliate;
  }
  EXPECT_EQ(effective, 23'541'788);
  EXPECT_EQ(affiliate, 185'134'300);
  EXPECT_EQ(total(resnet18_contrastive({.classes = 10})), 73'635'914);
}

TEST(ResnetTest, StagesHandOnThePublishedShapes) {
  const Shape expected[] = {{32, 32, 64}, {32, 32, 64}, {16, 16, 128}, {8, 8, 256}, {4, 4, 512}};
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(resnet18_slices({})[i].map, expected[i]) << "stage " << i;
  EXPECT_EQ(resnet18_slices({.image = 64, .width = 0.125})[4].map, (Shape{8, 8, 64}));
  EXPECT_EQ(resnet18_slices({.width = 0.001})[4].map, (Shape{4, 4, 1}));
}

TEST(ResnetTest, RefusesWhatItCannotBe) {
  EXPECT_THROW(resnet18_backprop({.image = 28}), ConfigError);
  EXPECT_THROW(resnet18_backprop({.image = 0}), ConfigError);
  EXPECT_THROW(resnet18_backprop({.width = 0}), ConfigError);
  EXPECT_THROW(resnet18_backprop({.classes = 1}), ConfigError);
  EXPECT_THROW(resnet18_backprop({.in_channels = 0}), ConfigError);
}

using ResnetStageTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, ResnetStageTest, testing::ValuesIn(test_devices()), device_label);

TEST_P(ResnetStageTest, EveryStageGivesTheShapeItPromisesAndTheLastALoss) {
  const Stream s(device());
  const ResnetConfig config{.image = 16, .classes = 7, .width = 1.0 / 16};
  const std::vector<StageNet> nets = resnet18_backprop(config);
  const Tensor labels = random_ints(s, {3}, 4, 0, 7);
  Tensor x = random(s, {3, 16, 16, 3}, 1);
  Ledger ledger;
  for (size_t i = 0; i < nets.size(); ++i) {
    Arena arena(s, nets[i].init, 3);
    Ctx c{.stream = s, .weights = arena.weights(), .arena = arena, .ledger = ledger, .training = true};
    const bool first = i == 0, last = i + 1 == nets.size();
    std::vector<Var> feed, in;
    (first ? feed : in).push_back({x});
    if (last) feed.push_back({labels});
    const StageOutput out = nets[i].body->forward(c, feed, in, 1.0f);
    if (last) {
      EXPECT_EQ(nets[i].body->infer(c, {{x}})[0].shape(), (Shape{3, 7}));
      ASSERT_EQ(out.losses.size(), 1u);
      EXPECT_NEAR(to_double(s, out.losses[0].value)[0], std::log(7.0), 1.0);  // as good as guessing
      continue;
    }
    const Shape expected = resnet18_slices(config)[i].map;
    ASSERT_EQ(out.out.size(), 1u);
    x = out.out[0].value;
    EXPECT_EQ(x.shape(), (Shape{3, expected[0], expected[1], expected[2]})) << "stage " << i;
  }
}

}  // namespace
}  // namespace sluice::test::resnet_test
