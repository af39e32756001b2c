// Cuts as a user gives them: which units they name, which they refuse, and a run that goes on with others.
#include "apps/cutting.h"

#include <algorithm>

#include "apps/catalog.h"
#include "engine/safetensors.h"
#include "models/image_networks.h"
#include "tests/apps/command.h"

namespace sluice::test::cutting_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> cuts(const std::string& text, const UnitNet& net) {
  RunConfig c;
  c.model = "vgg16";
  set_field(c, "cuts", text);
  return cuts_of(c, net);
}

TEST(CuttingTest, NamesUnitsAtWhichStagesBegin) {
  const UnitNet net = vgg16({.image = 32});
  EXPECT_THAT(cuts("", net), ElementsAre(3, 9, 13));
  EXPECT_THAT(cuts("1", net), ElementsAre(1));
  EXPECT_THAT(cuts("5,6,18", net), ElementsAre(5, 6, 18));
  EXPECT_EQ(cuts("all", net).size(), 18u);
  EXPECT_THAT(cuts("balanced:1", net), ElementsAre());
  for (const char* bad : {"0", "19", "3,3", "4,2", "-1", "x", "balanced:", "balanced:0", "balanced:20", "2.5"})
    EXPECT_THROW(cuts(bad, net), ConfigError) << bad;
}

/// Operations of the most loaded stage.
int64_t largest(const std::vector<UnitCost>& costs, const std::vector<int>& cuts) {
  int64_t most = 0, sum = 0;
  for (int u = 0; u < int(costs.size()); ++u) {
    if (std::find(cuts.begin(), cuts.end(), u) != cuts.end()) sum = 0;
    sum += costs[size_t(u)].flops;
    most = std::max(most, sum);
  }
  return most;
}

TEST(CuttingTest, BalancedStagesHaveTheSmallestLargestLoad) {
  const UnitNet net = googlenet({.image = 32, .width = 0.125});
  const std::vector<UnitCost> costs = unit_costs(net);
  const int units = int(costs.size());
  int64_t best = largest(costs, {});
  for (int a = 1; a < units; ++a)
    for (int b = a + 1; b < units; ++b) best = std::min(best, largest(costs, {a, b}));
  const std::vector<int> chosen = cuts("balanced:3", net);
  EXPECT_EQ(chosen.size(), 2u);
  EXPECT_EQ(largest(costs, chosen), best);
}

class CutsCommand : public CommandTest {};

TEST_F(CutsCommand, TrainsEveryNetworkOfUnits) {
  for (const char* more :
       {"--model alexnet --image-size 63", "--model vgg16 --cuts all --devices cpu:0,cpu:1 --placement blocks",
        "--model googlenet --cuts balanced:3 --micro-batches 2 --devices cpu:0,cpu:1 --placement 0,1,1",
        "--model inception_v3 --image-size 75 --gcp", "--model densenet121 --cuts 8",
        "--model resnet50 --cuts balanced:4 --conv-start fan_out", "--model vit --num-layers 2 --head 6 --cuts 2",
        "--model vgg --cuts 1,4"}) {
    const Outcome o = sluice(small(std::string(more) + " --rule bp --max-steps 2"));
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
  }
  expect_one_error(sluice(small("--model alexnet --rule bp")), HasSubstr("images of side 32, expected 63 or more"));
  expect_one_error(sluice(small("--model vgg16 --rule bp --cuts 7,3")), HasSubstr("ascending units of 1 to 18"));
  expect_one_error(sluice(small("--model vgg16 --rule bp --act tanh")), HasSubstr("model=vgg16 take relu"));
  expect_one_error(sluice(small("--model vgg --rule al --cuts 2")), HasSubstr("rule=al has stages of its own"));
  expect_one_error(sluice(small("--model resnet50 --rule bp --conv-start he")),
                   HasSubstr("expected fan_in or fan_out"));
}

TEST_F(CutsCommand, ARunGoesOnBitForBitWithOtherCuts) {
  const std::string rest = "--model googlenet --rule bp --optimizer sgd --epochs 1 --trace false --out ";
  ASSERT_EQ(sluice(small(rest + run_dir("whole") + " --cuts balanced:1")).status, 0);
  ASSERT_EQ(sluice(small(rest + run_dir("parts") + " --max-steps 4")).status, 0);
  const Outcome resumed =
      sluice(small(rest + run_dir("parts") + " --cuts 1,5 --devices cpu:0,cpu:1 --placement 0,1,1"));
  ASSERT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("resuming"));
  const auto expected = read_safetensors(checkpoint("whole")).arrays;
  const auto got = read_safetensors(checkpoint("parts")).arrays;
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [key, array] : got) EXPECT_EQ(array.bytes, expected.at(key).bytes) << key;
}

}  // namespace
}  // namespace sluice::test::cutting_test
