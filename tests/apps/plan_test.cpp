// `sluice plan`, and runs of what it found.
#include "tests/apps/command.h"

namespace sluice::test::plan_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class PlanCommandTest : public CommandTest {
 protected:
  std::string network() const {
    return "--data-dir " + data() + " --model resnet18 --rule bp --width 0.03125 --batch 16 --augmentation none";
  }
  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  std::string written(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
    return file(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream in(file(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(PlanCommandTest, PlansTrainsAndDraws) {
  const Outcome o = sluice("plan " + network() + " --devices cpu:0,cpu:1 --cores-per-device 1 --memory 1G --save " +
                           file("plan.json") + " --svg " + file("plan.svg") + " --profile " + file("profile.txt") +
                           " --try-micro-batches 2,4 --rows 1000");
  ASSERT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, AllOf(HasSubstr("samples/s"), HasSubstr("one_f_one_b"), HasSubstr("bubble")));
  EXPECT_THAT(read("plan.svg"), AllOf(HasSubstr("cpu:0"), HasSubstr("micro-batches")));
  const Outcome cut =
      sluice("partition " + file("profile.txt") + " -n 2 -b 1e9 --straight-pipeline --out " + file("cut.txt"));
  EXPECT_EQ(cut.status, 0) << cut.text;
  EXPECT_THAT(cut.text, HasSubstr("x one machine"));
  EXPECT_THAT(read("cut.txt"), HasSubstr("stage_id=1"));

  const Outcome run = sluice("train --plan " + file("plan.json") + " --max-steps 6 --out " + run_dir());
  ASSERT_EQ(run.status, 0) << run.text;
  EXPECT_THAT(run.text, AllOf(HasSubstr("expected memory"), HasSubstr("peak memory in training")));
  fs::remove(file("plan.json"));  // the run keeps the schedule
  EXPECT_EQ(sluice("eval --run " + run_dir()).status, 0);
  EXPECT_EQ(sluice("eval --devices cpu:0 --run " + run_dir()).status, 0);
  const Outcome plot = sluice("plot timeline " + run_dir() + " --out " + file("run.svg"));
  EXPECT_EQ(plot.status, 0) << plot.text;
  EXPECT_THAT(read("run.svg"), AllOf(HasSubstr("measured"), HasSubstr("forward")));
  expect_one_error(sluice("plan " + network() + " --try-micro-batches 2 --memory 1K --save " + file("p") + " --svg " +
                          file("s") + " 2>&1 | tail -n 1; exit 1"),
                   HasSubstr("no plan keeps within 1K a device"));
  expect_one_error(sluice("plan " + network() + " --try-micro-batches 3"),
                   HasSubstr("expected divisors of the batch, 16"));
  expect_one_error(sluice("plan " + network() + " --try-micro-batches 2 --memory 4X"),
                   HasSubstr("--memory 4X: expected bytes such as 4G"));
}

TEST_F(PlanCommandTest, PlansStagesOnSeveralDevices) {
  const std::string plan = "plan " + network() + " --devices cpu:0,cpu:1 --cores-per-device 1 --svg " +
                           file("plan.svg") + " --save " + file("plan.json") + " --try-micro-batches 4 --rows 1000 ";
  const std::string train = "train --max-steps 3 --out ";
  const Outcome both_ways = sluice(plan + "--schedule chimera");
  ASSERT_EQ(both_ways.status, 0) << both_ways.text;
  EXPECT_THAT(read("plan.json"), AllOf(HasSubstr("\"schedule\": \"chimera\""), HasSubstr("\"stage_of\"")));
  const Outcome run = sluice(train + run_dir("both_ways") + " --plan " + file("plan.json"));
  ASSERT_EQ(run.status, 0) << run.text;
  EXPECT_THAT(run.text, AllOf(HasSubstr("0 on cpu:0 and cpu:1, 1 on cpu:1 and cpu:0"), HasSubstr("peak memory")));
  // Nothing but the bubble and the updates tells 1F1B from a copy of the network a device here.
  const Outcome replicas = sluice(plan + "--schedule one_f_one_b --bandwidth 1e15 --latency 0");
  ASSERT_EQ(replicas.status, 0) << replicas.text;
  EXPECT_THAT(replicas.text, HasSubstr("uncut, replicas 2"));
  const Outcome again = sluice(train + run_dir("replicas") + " --plan " + file("plan.json"));
  EXPECT_EQ(again.status, 0) << again.text;
  EXPECT_EQ(sluice("plot timeline " + run_dir("both_ways") + " --out " + file("run.svg")).status, 0);
  EXPECT_THAT(read("run.svg"), HasSubstr("sum of gradients"));
}

TEST_F(PlanCommandTest, RunsASchedulesFile) {
  const std::string two = "| F0.0 D0.0 F0.1 D0.1 U0 * 2 |\n| F1.0 D1.0 F1.1 D1.1 U1 * 2 |\n";
  const std::string base = "train " + network() +
                           " --cuts 3 --devices cpu:0,cpu:1 --cores-per-device 1 --micro-batches 2 "
                           "--max-steps 2 --schedule ";
  const Outcome o = sluice(base + written("two.txt", two) + " --out " + run_dir("file"));
  ASSERT_EQ(o.status, 0) << o.text;
  ASSERT_EQ(sluice(base + "naive_split --placement 0,1 --out " + run_dir("built_in")).status, 0);
  const auto weights = [&](const std::string& run) {
    std::ifstream in(checkpoint(run), std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    return bytes.substr(bytes.size() - 4096);  // the end of the arrays, behind the configuration
  };
  EXPECT_EQ(weights("file"), weights("built_in"));

  expect_one_error(
      sluice(base + written("bad.txt", "| F0.0 D0.0 F0.1 D0.1 U0 * 2 |\n| F1.0 D1.0 D1.1 F1.1 U1 * 2 |\n")),
      AllOf(HasSubstr("bad.txt, line 2: worker 1"), HasSubstr("D1.1: can never run")));
  expect_one_error(sluice(base + written("word.txt", "| F0.0 D0.0 F0,1 D0.1 U0 * 2 |\n")),
                   HasSubstr("word.txt: plan text, line 1: 'F0,1' is no action"));
  expect_one_error(sluice(base + written("one.txt", "| F0.0 F1.0 D1.0 D0.0 U0 U1 * 1 |\n")),
                   HasSubstr("one.txt is for 1 workers; devices=cpu:0,cpu:1 has 2"));
  expect_one_error(sluice(base + written("three.txt", two + "| F2.0 D2.0 F2.1 D2.1 U2 * 2 |\n")),
                   HasSubstr("three.txt has 3 stages; resnet18 with rule bp has 2, which --cuts may change"));
}

TEST_F(PlanCommandTest, TakesMapsOfStages) {
  const std::string base = "train " + network() + " --devices cpu:0,cpu:1 --cores-per-device 1 --max-steps 1 --plan ";
  const Outcome o = sluice(base + written("conf.json", R"({"module_to_stage_map": [0, 0, 1, 1, 1, 1, 1],)"
                                                       R"( "stage_to_rank_map": {"0": [0], "1": [1]}})"));
  EXPECT_EQ(o.status, 0) << o.text;
  EXPECT_THAT(o.text, HasSubstr("stages: 0 on cpu:0, 1 on cpu:1"));
  expect_one_error(sluice(base + written("unquoted.json", "{module_to_stage_map: [0]}")),
                   HasSubstr("unquoted.json: line 1, column 2: no JSON"));
}

}  // namespace
}  // namespace sluice::test::plan_test
