// Plans, schedules and maps of stages in files, and what is said of bad ones.
#include "apps/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/run_dir.h"
#include "apps/schedule_file.h"
#include "apps/stage_maps.h"
#include "engine/error.h"
#include "pipeline/schedules.h"
#include "pipeline/transfers.h"
#include "tests/support/temp_dir.h"

namespace sluice::test::plan_file_test {
namespace {

using testing::HasSubstr;

/// What an error says; "nothing" where there is none.
template <class F>
std::string said(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing";
}

PlanFile some_plan() {
  PlanFile f;
  f.config.model = "resnet18";
  f.config.rule = "bp";
  f.config.cuts = "3";
  f.config.placement = "0,1";
  f.config.micro_batches = 4;
  f.schedule = "zb_h1";
  f.plan.plan = zb_h1(one_each(2), 4);
  f.prediction = {.samples_per_s = 12.5, .bubble = 0.25, .bytes = {100, 200}};
  return f;
}

TEST(PlanFile, IsReadBack) {
  const PlanFile f = some_plan(), g = read_plan_text(to_json(f), "plan.json");
  EXPECT_EQ(to_json(g.config), to_json(f.config));
  EXPECT_EQ(g.schedule, "zb_h1");
  EXPECT_EQ(g.plan, f.plan);
  EXPECT_EQ(g.prediction.samples_per_s, 12.5);
  EXPECT_EQ(g.prediction.bytes, (std::vector<int64_t>{100, 200}));
}

TEST(PlanFile, HoldsInstances) {
  PlanFile f = some_plan();
  const InstancePlacement all = both_ways(one_each(2));
  f.plan = {chimera(all.placement, 4), all.stage_of};
  const std::string text = to_json(f);
  EXPECT_EQ(read_plan_text(text, "plan.json").plan, f.plan);
  EXPECT_THAT(text, HasSubstr("\"stage_of\": [\n    0,\n    1,\n    0,\n    1\n  ]"));
  const auto changed = [&](const std::string& to) {
    std::string t = text;
    const size_t at = t.find("\"stage_of\": [");
    return said([&] { read_plan_text(t.replace(at, t.find(']', at) + 1 - at, to), "plan.json"); });
  };
  EXPECT_THAT(changed("\"stage_of\": [0, 1, 0]"),
              HasSubstr("plan.json: stage_of names the stages of 3 instances, the plan has 4"));
  EXPECT_THAT(changed("\"stage_of\": [0, 1, \"0\", 1]"),
              HasSubstr("'stage_of' holds \"0\", expected the stage of each"));
  EXPECT_THAT(changed("\"stage_of\": [1, 0, 0, 1]"), HasSubstr("instance 0 computes stage 1, expected the first"));
  EXPECT_THAT(changed("\"stage_of\": 2"), HasSubstr("'stage_of' is 2, expected the stage of each instance"));
}

TEST(PlanFile, RefusesWithTheKeyAndWhatWasExpected) {
  const std::string text = to_json(some_plan());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string t = text;
    return said([&] { read_plan_text(t.replace(t.find(from), from.size(), to), "plan.json"); });
  };
  EXPECT_THAT(said([] { read_plan_text("[]", "plan.json"); }), HasSubstr("plan.json: no JSON object"));
  EXPECT_THAT(changed("\"schedule\": \"zb_h1\"", "\"schedule\": 3"),
              HasSubstr("'schedule' is 3, expected the name of a schedule"));
  EXPECT_THAT(changed("\"plan\"", "\"plans\""), HasSubstr("no 'plan', expected a line for each worker"));
  EXPECT_THAT(changed("F0.0", "X0.0"), HasSubstr("plan.json: plan text, line 1: 'X0.0' is no action"));
  EXPECT_THAT(changed("\"micro_batches\"", "\"micro_batch\""), HasSubstr("unknown key 'micro_batch'"));
  EXPECT_THAT(changed("\"bubble\": 0.25", "\"bubble\": true"), HasSubstr("'bubble' is true, expected a number"));
}

TEST(ScheduleFile, TakesPlansWithTransfersAndWithout) {
  TempDir dir;
  const std::string path = (dir / "plan.txt").string();
  Wiring w;
  w.stages = 2;
  w.edges = chain(2);
  const Plan plan = one_f_one_b(one_each(2), 4);
  for (const Plan& written : {plan, add_transfers(plan, w)}) {
    sluice::write_file(path, to_text(written));
    EXPECT_EQ(read_schedule(path).plan, plan);
    EXPECT_TRUE(read_schedule(path).stage_of.empty());
  }
  RunConfig c;
  c.micro_batches = 4;
  EXPECT_EQ(compute_plan(c, path, one_each(2)).plan, plan);
  EXPECT_THAT(said([&] { compute_plan(c, path, {1, 0}); }), HasSubstr("on workers 0,1, the run on 1,0"));
  c.micro_batches = 2;
  EXPECT_THAT(said([&] { compute_plan(c, path, one_each(2)); }),
              HasSubstr("a step of 4 micro-batches; micro_batches=2"));
  EXPECT_EQ(compute_plan(c, "gpipe", one_each(2)).plan, gpipe(one_each(2), 2));
}

TEST(ScheduleFile, TakesPlansOfInstances) {
  TempDir dir;
  const std::string path = (dir / "plan.txt").string();
  RunConfig c;
  c.micro_batches = 4;
  const InstancePlan plan = compute_plan(c, "chimera", one_each(2));
  EXPECT_EQ(plan.stage_of, (std::vector<int>{0, 1, 0, 1}));
  sluice::write_file(path, to_text(plan));
  EXPECT_EQ(read_schedule(path), plan);
  EXPECT_EQ(compute_plan(c, path, one_each(2)), plan);
  EXPECT_THAT(said([&] { compute_plan(c, path, {1, 0}); }), HasSubstr("on workers 0,1, the run on 1,0"));
  const ScheduleError error("worker 1, position 0, D1.0: its forward has not run");
  EXPECT_EQ(std::string(in_schedule(path, error).what()), path + ", line 3: " + error.what());
  sluice::write_file(path, "stage_of 0 1 0\n" + to_text(plan.plan));
  EXPECT_EQ(said([&] { read_schedule(path); }), path + ": stage_of names the stages of 3 instances, the plan has 4");
}

TEST(ScheduleFile, ErrorsNameFileLineAndAction) {
  TempDir dir;
  const std::string path = (dir / "plan.txt").string();
  sluice::write_file(path, "| F0.0 D0.0 U0 * 1 |\n\n| F1.0 Q1.0 U1 * 1 |\n");
  EXPECT_THAT(said([&] { read_schedule(path); }), HasSubstr(path + ": plan text, line 3: 'Q1.0' is no action"));
  sluice::write_file(path, "\n");
  EXPECT_THAT(said([&] { read_schedule(path); }), HasSubstr("no line, expected"));
  EXPECT_THAT(said([&] { read_schedule((dir / "none.txt").string()); }), HasSubstr("none.txt: cannot be read"));
  sluice::write_file(path, "| F0.0 D0.0 U0 * 1 |\n\n| F1.0 D1.0 U1 * 1 |\n");
  const ScheduleError error("worker 1, position 0, D1.0: its forward has not run");
  EXPECT_EQ(std::string(in_schedule(path, error).what()), path + ", line 3: " + error.what());
  EXPECT_EQ(std::string(in_schedule("gpipe", error).what()), error.what());
  EXPECT_EQ(std::string(in_schedule("p.json", error).what()), std::string("p.json, line 2 of 'plan': ") + error.what());
}

TEST(ScheduleFile, ARunKeepsItsSchedule) {
  TempDir dir;
  RunConfig c;
  c.schedule = (dir / "plan.txt").string();
  c.out = (dir / "run").string();
  sluice::write_file(c.schedule, to_text(gpipe(one_each(2), 2)));
  keep_schedule(c);
  EXPECT_EQ(c.schedule, c.out + "/schedule.txt");
  EXPECT_EQ(read_schedule(c.schedule).plan, gpipe(one_each(2), 2));
  RunDir(c.out).write_config(c);
  EXPECT_EQ(saved_config(c.out, "", "").schedule, c.schedule);
  EXPECT_EQ(saved_config(c.out, "", "cpu:0").schedule, "auto");
}

// ---- maps of stages ----

constexpr const char* kStraight = R"({
  "module_to_stage_map": [0, 1, 2, 3, 3],
  "stage_to_rank_map": {"0": [0], "1": [1], "2": [2], "3": [3]}
})";

TEST(StageMaps, AreReadAsPublished) {
  const StageMaps maps = read_stage_maps(kStraight, "mp_conf.json");
  EXPECT_EQ(maps.stage_of_module, (std::vector<int>{0, 1, 2, 3, 3}));
  EXPECT_EQ(maps.ranks[2], (std::vector<int>{2}));
  EXPECT_TRUE(maps.depth.empty());
  const StageMaps hybrid = read_stage_maps(
      R"({"module_to_stage_map": [0, 1, 1], "stage_to_rank_map": {"0": [0, 1, 2], "1": [3]}, "stage_to_depth_map": {"0": 1, "1": 0}})",
      "hybrid_conf.json");
  EXPECT_EQ(hybrid.ranks[0], (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(hybrid.depth, (std::vector<int>{1, 0}));
  EXPECT_TRUE(is_stage_maps(kStraight));
  EXPECT_FALSE(is_stage_maps(to_json(some_plan())));
}

TEST(StageMaps, RefuseWhatThePublishedOnesGetWrong) {
  const auto refusal = [](const std::string& text) { return said([&] { read_stage_maps(text, "conf.json"); }); };
  EXPECT_THAT(refusal("{\n  \"module_to_stage_map\": [0, 0],\n  stage_to_rank_map: {\"0\": [0]}\n}"),
              HasSubstr("conf.json: line 3, column 3: no JSON; expected keys and texts in double quotes"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [], "1": [0]}})"),
              HasSubstr("stage 0 has no rank, expected at least one"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, 2], "stage_to_rank_map": {"0": [0], "2": [1]}})"),
              HasSubstr("module 1 is in stage 2 behind stage 0"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [1], "stage_to_rank_map": {"1": [0]}})"),
              HasSubstr("module 0 is in stage 1"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, "1"], "stage_to_rank_map": {"0": [0]}})"),
              HasSubstr("module_to_stage_map holds \"1\", expected whole numbers"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0], "stage_to_rank_map": {"0": [0], "1": [1]}})"),
              HasSubstr("stage_to_rank_map names stage '1', expected 0 to 0"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [0]}})"),
              HasSubstr("stage_to_rank_map does not name stage 1"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [0, 1], "1": [1]}})"),
              HasSubstr("rank 1 is in stage 0 and in stage 1"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [0], "1": [2]}})"),
              HasSubstr("2 ranks, but no rank 1"));
  EXPECT_THAT(
      refusal(R"({"module_to_stage_map": [0], "stage_to_rank_map": {"0": [0]}, "stage_to_depth_map": {"0": -1}})"),
      HasSubstr("stage_to_depth_map holds -1"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0], "ranks": {"0": [0]}})"), HasSubstr("unknown key 'ranks'"));
  EXPECT_THAT(refusal(R"({"module_to_stage_map": [0]})"), HasSubstr("no stage_to_rank_map"));
}

TEST(StageMaps, BecomeCutsAndPlacement) {
  const StageMaps maps = read_stage_maps(kStraight, "conf.json");
  RunConfig c;
  c.model = "m";
  c.devices = "cpu:0,cpu:1,cpu:2,cpu:3";
  const RunConfig d = with_stage_maps(c, maps, 4, "conf.json");
  EXPECT_EQ(d.cuts, "1,2,3");
  EXPECT_EQ(d.placement, "0,1,2,3");
  EXPECT_EQ(with_stage_maps(c, maps, 5, "conf.json").cuts, "1,2,3");  // the last stage has two units
  const auto refusal = [&](const std::string& devices, const std::string& text, int units) {
    RunConfig on = c;
    on.devices = devices;
    return said([&] { with_stage_maps(on, read_stage_maps(text, "conf.json"), units, "conf.json"); });
  };
  EXPECT_THAT(refusal(c.devices, kStraight, 9), HasSubstr("5 modules; model=m has 9 units"));
  const std::string six = R"({"module_to_stage_map": [0, 0], "stage_to_rank_map": {"0": [0, 1, 2, 3, 4, 5]}})";
  EXPECT_THAT(refusal(c.devices, six, 2), HasSubstr("has 6 ranks; devices=cpu:0,cpu:1,cpu:2,cpu:3 has 4"));
  const std::string replicas = R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [0, 1, 2], "1": [3]}})";
  const RunConfig several = with_stage_maps(c, read_stage_maps(replicas, "conf.json"), 2, "conf.json");
  EXPECT_EQ(several.cuts, "1");
  EXPECT_EQ(several.placement, "auto");
  EXPECT_EQ(several.replicas, "3,1");
  const std::string order = R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [1, 2, 3], "1": [0]}})";
  EXPECT_THAT(refusal(c.devices, order, 2), HasSubstr("rank 1 in the place of 0"));
  const std::string deep =
      R"({"module_to_stage_map": [0, 1], "stage_to_rank_map": {"0": [0], "1": [1]}, "stage_to_depth_map": {"0": 2, "1": 0}})";
  EXPECT_THAT(refusal("cpu:0,cpu:1", deep, 2), HasSubstr("stage 0 is 2 ahead, expected 1"));
}

}  // namespace
}  // namespace sluice::test::plan_file_test
