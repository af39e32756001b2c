// Stages on several devices as a user asks for them: runs, what is saved, what goes on, and what is refused.
#include <cmath>
#include <cstring>
#include <map>

#include "apps/plan_file.h"
#include "engine/safetensors.h"
#include "pipeline/schedules.h"
#include "tests/apps/command.h"

namespace sluice::test::replicas_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ReplicasCommand : public CommandTest {
 protected:
  Outcome train(const std::string& name, const std::string& more) const {
    return sluice(
        small("--model vgg --rule bp --optimizer sgd --trace false --epochs 1 --out " + run_dir(name) + " " + more));
  }
  /// What a run of vgg in four stages leaves behind: everything but the running statistics, which are of an instance.
  std::map<std::string, std::vector<std::byte>> trained(const std::string& name, const std::string& more) {
    const Outcome o = train(name, more);
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
    std::map<std::string, std::vector<std::byte>> arrays;
    for (const auto& [key, array] : read_safetensors(checkpoint(name)).arrays)
      if (!key.ends_with("running_mean") && !key.ends_with("running_var")) arrays.emplace(key, array.bytes);
    EXPECT_GT(arrays.size(), 8u);
    return arrays;
  }
};

const char* const kFour = " --devices cpu:0,cpu:1,cpu:2,cpu:3 --micro-batches 8 ";

TEST_F(ReplicasCommand, BothBidirectionalSchedulesTrainAlikeAndGoOnWhereTheyStopped) {
  const auto chimera = trained("chimera", std::string(kFour) + "--schedule chimera --max-steps 6");
  EXPECT_EQ(trained("dual_pipe", std::string(kFour) + "--schedule dual_pipe --max-steps 6"), chimera);
  EXPECT_EQ(trained("recomputed", std::string(kFour) + "--schedule chimera --recompute 0,2 --max-steps 6"), chimera);
  const auto clipped = trained("clipped", std::string(kFour) + "--schedule chimera --clip-grad 0.2 --max-steps 6");
  EXPECT_NE(clipped, chimera);
  EXPECT_EQ(trained("both", std::string(kFour) + "--schedule dual_pipe --clip-grad 0.2 --max-steps 6"), clipped);
  trained("parts", std::string(kFour) + "--schedule chimera --max-steps 2");
  expect_one_error(train("parts", std::string(kFour) + "--schedule zb_h1 --max-steps 6"),
                   AllOf(HasSubstr("schedule=chimera, adds the gradients of micro-batches 0 2 4 6, 1 3 5 7"),
                         HasSubstr("schedule=zb_h1, 0 1 2 3 4 5 6 7")));
  EXPECT_EQ(trained("parts", std::string(kFour) + "--schedule dual_pipe --max-steps 6"), chimera);
}

TEST_F(ReplicasCommand, ReplicasAreNamedAndGoOnWhereTheyStopped) {
  const std::string some = std::string(kFour) + "--cuts 1,4 --replicas 1,2,1 ";
  const Outcome o = sluice(small("--model vgg --rule bp --max-steps 1" + some));
  EXPECT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("0 on cpu:0, 1 on cpu:1 and cpu:2, 2 on cpu:3"));
  const auto whole = trained("whole", some + "--max-steps 6");
  trained("parts", some + "--max-steps 2");
  EXPECT_EQ(trained("parts", some + "--max-steps 6"), whole);
  EXPECT_EQ(trained("recomputed", some + "--recompute 1 --max-steps 6"), whole);
  expect_one_error(train("parts", std::string(kFour) + "--cuts 1,4 --replicas 2,1,1 --max-steps 7"),
                   HasSubstr("replicas"));
  expect_one_error(train("parts", std::string(kFour) + "--cuts 2,4 --replicas 1,2,1 --max-steps 7"),
                   AllOf(HasSubstr("of cuts='1,4'"), HasSubstr("of cuts='2,4'")));
}

TEST_F(ReplicasCommand, WhatTheyTrainedIsEvaluatedOnAnyDevices) {
  for (const std::string more : {"--cuts 1,4 --replicas 1,2,1", "--schedule chimera"}) {
    const std::string name = "run" + more.substr(2, 4), eval = "eval --data-dir " + data() + " --run " + run_dir(name);
    trained(name, kFour + more);
    const Outcome own = sluice(eval);
    EXPECT_EQ(own.status, 0) << own.text;
    EXPECT_THAT(own.text, HasSubstr("test samples right"));
    for (const char* devices : {" --devices cpu:0", " --devices cpu:0,cpu:1"})
      EXPECT_EQ(sluice(eval + devices).text, own.text);
  }
}

TEST_F(ReplicasCommand, PlansInFilesTrainAsTheBuiltInOnesDo) {
  const auto written = [&](const std::string& name, const std::string& text) {
    std::ofstream((dir_ / name).string()) << text;
    return (dir_ / name).string();
  };
  const InstancePlacement ways = both_ways(one_each(4)), beside = side_by_side({1, 2, 1});
  const InstancePlan both{chimera(ways.placement, 8), ways.stage_of};
  const InstancePlan some{one_f_one_b_side_by_side({1, 2, 1}, 8), beside.stage_of};
  const auto both_ways_on =
      trained("chimera", std::string(kFour) + "--cuts 1,3,4 --placement 0,1,2,3 --schedule chimera --max-steps 3");
  const std::string file = written("chimera.txt", to_text(both));
  EXPECT_EQ(trained("file", kFour + ("--cuts 1,3,4 --max-steps 3 --schedule " + file)), both_ways_on);
  const auto replicas = trained("replicas", std::string(kFour) + "--cuts 1,4 --replicas 1,2,1 --max-steps 3");
  PlanFile plan{.config = {}, .schedule = "one_f_one_b", .plan = some, .prediction = {}};
  read_config_file(plan.config, run_dir("replicas") + "/config.json");
  plan.config.replicas = plan.config.out = "";
  const std::string json = written("plan.json", to_json(plan));
  for (const auto& [name, more] : std::vector<std::pair<std::string, std::string>>{
           {"plan", "--plan " + json},
           {"text", kFour + ("--cuts 1,4 --schedule " + written("some.txt", to_text(some)))}})
    EXPECT_EQ(trained(name, more + " --max-steps 3"), replicas) << name;
  fs::remove(json);  // the run keeps the schedule
  EXPECT_EQ(sluice("eval --run " + run_dir("plan")).status, 0);
  EXPECT_EQ(sluice("eval --devices cpu:0 --run " + run_dir("plan")).status, 0);

  const std::string four = "--model vgg --rule bp" + std::string(kFour) + "--max-steps 1 --set cuts=1,3,4 --schedule ";
  expect_one_error(sluice(small(four + file + " --weights pipedream")),
                   HasSubstr("rule 'pipedream': stages with replicas, expected a synchronous rule"));
  expect_one_error(sluice(small(four + written("more.txt", "stage_of 0 0 1\n" + to_text(both.plan)))),
                   HasSubstr("more.txt: instance 2 computes stage 1, expected the first instances of all 1 stages"));
  expect_one_error(sluice(small(four + file + " --set cuts=1,4")),
                   HasSubstr("chimera.txt has 4 stages; vgg with rule bp has 3"));
  std::string unsound = to_text(both);
  unsound.replace(unsound.find("U4 "), 3, "");
  expect_one_error(sluice(small(four + written("unsound.txt", unsound))),
                   AllOf(HasSubstr("unsound.txt, line "), HasSubstr("U4: missing from the program")));
}

TEST_F(ReplicasCommand, RulesOfLocalLossesHaveThemToo) {
  for (const char* more : {"--rule al --schedule chimera", "--rule scpl --schedule dual_pipe"}) {
    const Outcome o = sluice(small(std::string(more) + " --max-steps 2" + kFour));
    EXPECT_EQ(o.status, 0) << more << "\n" << o.text;
  }
}

TEST_F(ReplicasCommand, WhatDoesNotFitIsRefusedInOneLine) {
  const std::string four = "--model vgg --rule bp" + std::string(kFour);
  for (const auto& [more, why] : std::vector<std::pair<std::string, std::string>>{
           {"--schedule chimera --weights pipedream",
            "schedule=chimera, which gives stages replicas: expected synchro"},
           {"--schedule chimera --set micro_batches=2",
            "chimera: 2 micro-batches a step, expected a multiple of 4 workers"},
           {"--schedule dual_pipe --set micro_batches=4", "expected an even number, 8 or more for 4 workers"},
           {"--cuts 1,4 --replicas 1,2,1 --weights 2bw", "replicas=1,2,1: expected synchronous weights"},
           {"--cuts 1,4 --replicas 1,2,1 --schedule gpipe", "schedule=gpipe: expected auto or one_f_one_b"},
           {"--cuts 1,4 --replicas 1,2,1 --placement blocks", "expected placement=auto"},
           {"--cuts 1,4 --replicas 1,2,1 --set micro_batches=1", "expected one for each device of a stage, 2 or more"},
           {"--cuts 1,4 --replicas 2,2", "replicas=2,2 names 2 stages; vgg with rule bp has 3"},
           {"--cuts 1,4 --replicas 1,2,2", "replicas=1,2,2 needs 5 devices"},
           {"--cuts 1,4 --replicas 1,0,3", "expected a number of devices for each stage, such as 2,1,1"},
           {"--cuts 1,4 --replicas 1,two,1", "expected a number of devices for each stage, such as 2,1,1"}})
    expect_one_error(sluice(small(four + more)), HasSubstr(why));
  expect_one_error(sluice(small("--model vgg --rule bp --cuts 1,4 --schedule chimera --micro-batches 8 "
                                "--devices cpu:0,cpu:1,cpu:2")),
                   HasSubstr("chimera: 3 workers, expected an even number"));
  expect_one_error(sluice("plan --data-dir " + data() +
                          " --model vgg --rule bp --devices cpu:0,cpu:1 --micro-batches 2 --replicas 2,1"),
                   HasSubstr("plan: replicas='2,1': expected none, since it tries all of them"));
  EXPECT_THAT(sluice("train --help").text, AllOf(HasSubstr("--replicas"), HasSubstr("chimera, dual_pipe")));
}

}  // namespace
}  // namespace sluice::test::replicas_test
