// Plans on paper: what is found, and what it says of itself.
#include "apps/plan_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/timeline_svg.h"
#include "apps/trace_file.h"
#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice::plan_search_test {
namespace {

using testing::HasSubstr;

/// Units that take `seconds` forward and for each half of backward.
UnitCosts units(int64_t mbs, const std::vector<double>& seconds, bool mergeable = true) {
  UnitCosts u{.mbs = mbs, .names = {}, .wiring = {}, .costs = {}};
  u.mergeable = mergeable;
  u.wiring.stages = int(seconds.size());
  u.wiring.edges = chain(u.wiring.stages);
  u.costs.forward = u.costs.backward_input = u.costs.backward_weight = seconds;
  for (size_t i = 0; i < seconds.size(); ++i) {
    u.names.push_back("unit" + std::to_string(i));
    u.costs.bytes.push_back({.weights = 10, .gradients = 10, .optimizer = 20, .activations = 100, .deferred = 50});
    if (i > 0) u.costs.edges.push_back({.from = int(i) - 1, .to = int(i), .activations = 8, .gradients = 8});
  }
  return u;
}
const FoundPlan& find(const std::vector<FoundPlan>& plans, const std::string& schedule, int64_t mbs, size_t devices) {
  for (const FoundPlan& p : plans)
    if (p.schedule == schedule && p.mbs == mbs && p.bytes.size() == devices) return p;
  throw Error("no plan with " + schedule);
}

TEST(PlanSearch, FindsTheFastestOfAll) {
  const PlanRequest request{.rule = &find_rule("backprop"), .devices = 2, .samples = 48};
  const std::vector<FoundPlan> plans = search_plans(request, {units(1, {4, 4, 4, 4}), units(4, {1, 1, 1, 1})});
  // Of two devices, half of 4 x 4 x 3 each: zero bubble, the fewest bytes first.
  EXPECT_DOUBLE_EQ(plans[0].step_seconds, 24);
  EXPECT_DOUBLE_EQ(plans[0].samples_per_s, 2);
  EXPECT_NEAR(plans[0].bubble, 0, 1e-12);
  EXPECT_EQ(plans[0].mbs, 4);
  // What is known of the others: 1F1B's p - 1 micro-batches of bubble, one device's none, and of one micro-batch all.
  EXPECT_DOUBLE_EQ(find(plans, "one_f_one_b", 4, 2).step_seconds, (4 + 1) * 6);
  EXPECT_EQ(find(plans, "one_f_one_b", 4, 2).begins, (std::vector<int>{0, 2}));
  EXPECT_NEAR(find(plans, "one_f_one_b", 4, 2).bubble, 1.0 / 5, 1e-12);
  EXPECT_DOUBLE_EQ(find(plans, "one_device", 4, 1).step_seconds, 48);
  EXPECT_DOUBLE_EQ(find(plans, "naive_split", 1, 2).step_seconds, 48);
  for (size_t i = 1; i < plans.size(); ++i) EXPECT_LE(plans[i].samples_per_s, plans[i - 1].samples_per_s);
}

TEST(PlanSearch, KeepsWithinTheMemoryWhereThatIsPossible) {
  PlanRequest request{.rule = &find_rule("backprop"), .devices = 2, .samples = 48};
  const std::vector<UnitCosts> costs{units(4, {1, 1, 1, 1})};
  const std::vector<FoundPlan> free = search_plans(request, costs);
  // Two units a device: 80 bytes of weights, and 200 of a micro-batch's activations; parcels of 3 and 2 x 8.
  const FoundPlan& one = find(free, "one_f_one_b", 4, 2);
  EXPECT_EQ(one.bytes[0].peak(), 80 + 2 * 200 + 2 * 8);
  EXPECT_EQ(one.bytes[1].peak(), 80 + 1 * 200 + 2 * 8);
  EXPECT_EQ(one.peak(), 496);
  request.memory = free[0].peak() - 1;
  const std::vector<FoundPlan> tight = search_plans(request, costs);
  EXPECT_LE(tight[0].peak(), request.memory);
  EXPECT_LE(tight[0].samples_per_s, free[0].samples_per_s);
  EXPECT_EQ(tight.back().peak() <= request.memory, false);  // what does not fit comes last
}

TEST(PlanSearch, CountsWhatCrosses) {
  PlanRequest request{.rule = &find_rule("backprop"), .devices = 2, .samples = 4};
  request.link = {.latency = 0, .bandwidth = 0.01, .holds_sender = true};          // 800 s a parcel
  EXPECT_EQ(search_plans(request, {units(4, {1, 1, 1, 1})})[0].bytes.size(), 1u);  // better alone
}

TEST(PlanSearch, TakesTheSchedulesOfTheRule) {
  PlanRequest request{.rule = &find_rule("pipeoptim"), .devices = 2, .samples = 1};
  const std::vector<UnitCosts> costs{units(1, {1, 1, 1, 1})};
  const std::vector<FoundPlan> plans = search_plans(request, costs);
  for (const FoundPlan& p : plans) EXPECT_EQ(p.schedule, "async_1f1b");
  EXPECT_DOUBLE_EQ(plans[0].step_seconds, 6);
  EXPECT_NEAR(plans[0].bubble, 0, 1e-12);
  EXPECT_EQ(plans[0].bytes[0].stash, 20);  // foretold weights of two units; the last device needs none
  EXPECT_EQ(plans[0].bytes[1].stash, 0);
  request.rule = &find_rule("backprop");
  request.schedule = "gpipe";
  for (const FoundPlan& p : search_plans(request, costs)) EXPECT_EQ(p.schedule, "gpipe");
}

TEST(PlanSearch, StagesWithErrorsOfTheirOwnMayLieAnywhere) {
  UnitCosts u = units(1, {3, 1, 1, 3, 2, 2}, /*mergeable=*/false);
  u.wiring.error_crosses = false;
  const PlanRequest request{.rule = &find_rule("associated"), .devices = 2, .samples = 1};
  const std::vector<FoundPlan> plans = search_plans(request, {u});
  EXPECT_EQ(plans[0].schedule, "associated_streaming");
  EXPECT_DOUBLE_EQ(plans[0].step_seconds, 3 * 6);  // half of the work
  EXPECT_EQ(plans[0].begins.size(), 6u);           // every unit is a stage
}

TEST(PlanSearch, MergesCostsAndWhatUnitsShareOnce) {
  UnitCosts u = units(2, {1, 2, 4, 8});
  for (StageBytes& b : u.costs.bytes) b.shared = 30;
  const StageModel m = merged(u, {0, 3});
  EXPECT_EQ(m.costs.forward, (std::vector<double>{7, 8}));
  EXPECT_EQ(m.costs.bytes[0].weights, 30);
  EXPECT_EQ(m.costs.bytes[0].activations, 3 * 100 - 2 * 30);
  EXPECT_EQ(m.costs.bytes[1].activations, 100);
  ASSERT_EQ(m.costs.edges.size(), 1u);
  EXPECT_EQ(m.costs.parcel(0, 1), 8);
  EXPECT_EQ(m.wiring.stages, 2);
}

TEST(UnitProfile, IsWhatThePartitionerReads) {
  const Profile p = profile_of(units(1, {0.001, 0.002}));
  const Profile again = parse_profile(to_text(p), "again");
  EXPECT_EQ(again, p);
  ASSERT_EQ(p.nodes.size(), 3u);
  EXPECT_TRUE(p.nodes[0].is_input());
  EXPECT_EQ(p.nodes[2].description, "unit1");
  EXPECT_DOUBLE_EQ(p.nodes[2].forward_ms, 2);
  EXPECT_DOUBLE_EQ(p.nodes[2].backward_ms, 4);
  EXPECT_EQ(p.nodes[1].activations(), 8);
  EXPECT_EQ(p.nodes[1].parameter_bytes, 10);
}

TEST(TimelineSvg, DrawsALaneForEachDeviceAndABoxForEachAction) {
  const TimelinePicture p{.title = "a < b",
                          .lanes = {"cpu:0", "cpu:1"},
                          .boxes = {{0, 0, 0.5, act(Do::kForward, 0, 7)}, {1, 0.5, 1, act(Do::kBackwardInput, 1, 7)}}};
  const std::string svg = timeline_svg(p);
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  for (const char* part : {"a &lt; b", ">cpu:0<", ">cpu:1<", "F0.7: forward, stage 0, 500 ms", ">7</text>",
                           "prefers-color-scheme:dark", "backward, inputs</text>", "1000 ms"})
    EXPECT_THAT(svg, HasSubstr(part));
  EXPECT_THAT(svg, testing::Not(HasSubstr("backward, weights</text>")));  // the legend names what occurs
  const auto count = [&](const std::string& what) {
    size_t n = 0;
    for (size_t at = svg.find(what); at != std::string::npos; at = svg.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<rect class=\"lane\""), 2u);
  EXPECT_EQ(count("<rect class=\"f\""), 2u);  // a box, and one in the legend
}

TEST(TraceFile, IsReadBackBySteps) {
  const std::string trace = R"({"traceEvents":[
    {"name":"process_name","ph":"M","pid":1,"args":{"name":"cpu:1"}},
    {"name":"thread_name","ph":"M","pid":1,"tid":3,"args":{"name":"stage 3"}},
    {"name":"F3.4","cat":"forward","ph":"X","pid":1,"tid":3,"ts":1000,"dur":500,"args":{"micro_batch":4}},
    {"name":"U3.4","cat":"update","ph":"X","pid":1,"tid":3,"ts":1500,"dur":5,"args":{"micro_batch":4}},
    {"name":"F3.6","cat":"forward","ph":"X","pid":1,"tid":3,"ts":2000,"dur":500,"args":{"micro_batch":6}}]})";
  const TimelinePicture p = read_trace(trace, "t", /*mbs=*/2, /*first=*/2, /*steps=*/1);
  EXPECT_EQ(p.lanes, (std::vector<std::string>{"", "cpu:1"}));
  ASSERT_EQ(p.boxes.size(), 2u);
  EXPECT_EQ(p.boxes[0].action, act(Do::kForward, 3, 4));
  EXPECT_DOUBLE_EQ(p.boxes[0].begin, 1e-3);
  EXPECT_DOUBLE_EQ(p.boxes[0].end, 1.5e-3);
  EXPECT_THROW(read_trace(trace, "t", 2, 9, 1), DataError);
  EXPECT_THROW(read_trace("[]", "t", 2, 0, 1), DataError);
  EXPECT_THROW(read_trace(R"({"traceEvents":[{"name":"x","ph":"X"}]})", "t", 2, 0, 1), DataError);
}

}  // namespace
}  // namespace sluice::plan_search_test
