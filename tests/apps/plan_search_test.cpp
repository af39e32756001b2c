// Plans on paper: what is found, and what it says of itself.
#include "apps/plan_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "apps/plan_shapes.h"
#include "apps/timeline_svg.h"
#include "apps/trace_file.h"
#include "engine/error.h"
#include "kernels/common/philox.h"
#include "pipeline/schedules.h"
#include "pipeline/transfers.h"

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
/// The best one without replicas.
const FoundPlan& find(const std::vector<FoundPlan>& plans, const std::string& schedule, int64_t mbs, size_t devices) {
  for (const FoundPlan& p : plans)
    if (p.schedule == schedule && p.mbs == mbs && p.bytes.size() == devices && p.workers_of.empty()) return p;
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

// ---- stages on several devices ----

TEST(PlanSearch, ReplicatesTheStageThatTakesTwiceAsLong) {
  PlanRequest request{.rule = &find_rule("backprop"), .devices = 3, .samples = 12};
  std::vector<UnitCosts> costs{units(12, {2, 1})};
  costs[0].costs.bytes[1].gradients = 100'000;  // of the light one, so that it is better not replicated
  request.link.bandwidth = 1000;
  const FoundPlan best = search_plans(request, costs)[0];
  EXPECT_EQ(best.schedule, "one_f_one_b");
  EXPECT_EQ(best.begins, (std::vector<int>{0, 1}));
  EXPECT_EQ(best.workers_of, (std::vector<int>{2, 1}));
  EXPECT_EQ(best.plan.stage_of, (std::vector<int>{0, 1, 0}));
  EXPECT_EQ(best.placement, (Placement{0, 2}));
  EXPECT_EQ(best.bytes.size(), 3u);
  // Three devices with 3 a micro-batch each, twelve of them, and the fill, drain and sum.
  EXPECT_GT(best.step_seconds, 12 * 3);
  EXPECT_LT(best.step_seconds, 12 * 3 + 2 * 6 + 1);
  EXPECT_GE(find(search_plans(request, costs), "zb_h2", 12, 2).step_seconds, 12 * 6);  // the heavy one's alone
}

TEST(PlanSearch, GoesBothWaysWhereThatFillsTheBubble) {
  // Backwards without weight halves leave zero bubble nothing to fill with; sums of all gradients cost more than half.
  UnitCosts u = units(4, {1, 1, 1, 1});
  u.costs.backward_weight = {0};
  for (StageBytes& b : u.costs.bytes) b.gradients = 100;
  PlanRequest request{.rule = &find_rule("backprop"), .devices = 4, .samples = 4};
  request.link = {.latency = 0, .bandwidth = 100, .holds_sender = true};
  const std::vector<FoundPlan> plans = search_plans(request, {u});
  EXPECT_EQ(plans[0].schedule, "chimera");
  EXPECT_EQ(plans[0].begins, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(plans[0].plan.stage_of, (std::vector<int>{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_GT(plans[0].step_seconds, 8 + 2);  // its bubble of p - 2 backwards, parcels, and the sum
  EXPECT_LT(plans[0].step_seconds, find(plans, "one_f_one_b", 4, 4).step_seconds);
  // Each device holds two stages, and the sums' parcels of those: weights, gradients and optimiser of 10, 100 and 20.
  for (const WorkerBytes& b : plans[0].bytes) {
    EXPECT_EQ(b.weights, 2 * 10);
    EXPECT_EQ(b.gradients, 2 * 100);
    EXPECT_EQ(b.optimizer, 2 * 20);
    EXPECT_GE(b.parcels, 2 * 100);
  }
  EXPECT_EQ(find(plans, "one_f_one_b", 4, 4).bytes[0].weights, 10);
  request.memory = plans[0].peak() - 1;
  const FoundPlan tight = search_plans(request, {u})[0];
  EXPECT_LE(tight.peak(), request.memory);
  EXPECT_GE(tight.step_seconds, plans[0].step_seconds);
  request.schedule = "dual_pipe";
  EXPECT_FALSE(search_plans(request, {u}).empty());  // on two devices: four ask for eight micro-batches
  for (const FoundPlan& p : search_plans(request, {u})) {
    EXPECT_EQ(p.schedule, "dual_pipe");
    EXPECT_EQ(p.bytes.size(), 2u);
  }
}

/// Every plan that there is of a tiny network: all cuts, and all ways to lay chunks on devices that schedules have.
class AllPlans {
 public:
  AllPlans(const PlanRequest& request, const UnitCosts& u) : request_(request), units_(u) {
    const int n = u.wiring.stages;
    for (int cuts = 0; cuts < 1 << (n - 1); ++cuts) {
      begins_ = {0};
      for (int i = 1; i < n; ++i)
        if (cuts >> (i - 1) & 1) begins_.push_back(i);
      const int chunks = int(begins_.size());
      for (int d = 1; d <= request.devices; ++d) {
        Placement turns, v;
        for (int c = 0; c < chunks; ++c) turns.push_back(c % d);
        for (int c = 0; c < chunks; ++c) v.push_back(std::min(c, chunks - 1 - c));
        if (chunks % d == 0) try_all(turns);
        if (chunks == 2 * d) try_all(v);
        share({}, d);
      }
    }
  }
  double fastest(int64_t memory) const {
    double seconds = std::numeric_limits<double>::infinity();
    for (const auto& [time, bytes] : found_)
      if (bytes <= memory) seconds = std::min(seconds, time);
    return seconds;
  }

 private:
  void try_all(const Placement& placement) {
    for (const PlanSchedule& s : schedules())
      if (s.error_crosses && s.synchronous) try {
          const InstancePlacement all = s.placed(placement);
          CostModel costs = merged(units_, begins_).costs;
          costs.link = request_.link;
          play({s.make_for != nullptr ? s.make_for(placement, int(units_.mbs), costs)
                                      : s.make(all.placement, int(units_.mbs)),
                all.stage_of});
        } catch (const ScheduleError&) {
        }
  }
  /// Devices to the chunks in every way.
  void share(std::vector<int> workers_of, int left) {
    if (workers_of.size() == begins_.size()) {
      if (left == 0 && *std::max_element(workers_of.begin(), workers_of.end()) <= units_.mbs)
        play({one_f_one_b_side_by_side(workers_of, int(units_.mbs)), side_by_side(workers_of).stage_of});
      return;
    }
    for (int n = 1; n <= left; ++n) {
      workers_of.push_back(n);
      share(workers_of, left - n);
      workers_of.pop_back();
    }
  }
  /// The time of the third step: its updates against those of the second.
  void play(const InstancePlan& p) {
    StageModel m = merged(units_, begins_);
    m.costs.link = request_.link;
    if (!p.stage_of.empty()) {
      m.wiring.instances = share_out(p.stage_of, p.plan);
      m.wiring.stages = int(p.stage_of.size());
      m.wiring.edges = between(m.wiring.instances, m.wiring.edges);
      m.costs = between(m.wiring.instances, m.costs);
    }
    const Timeline t = simulate(add_transfers(p.plan, m.wiring), m.wiring, m.costs, 3 * units_.mbs);
    double longest = 0;
    for (const Timeline::Span& now : t.spans)
      for (const Timeline::Span& before : t.spans)
        if (now.action == act(Do::kUpdate, now.action.stage, 2 * units_.mbs) &&
            before.action == act(Do::kUpdate, now.action.stage, units_.mbs))
          longest = std::max(longest, now.end - before.end);
    int64_t most = 0;
    for (const WorkerBytes& b : t.bytes) most = std::max(most, b.peak());
    found_.emplace_back(longest, most);
  }

  const PlanRequest& request_;
  const UnitCosts& units_;
  std::vector<int> begins_;
  std::vector<std::pair<double, int64_t>> found_;  // seconds of a step, bytes of the fullest device
};

TEST(PlanSearch, FindsTheBestOfAllThatThereAre) {
  std::set<std::string> winners;
  for (uint32_t seed = 0; seed < 8; ++seed) {
    auto random = [&, i = 0u](int most) mutable { return int(philox({seed, 7}, i++, 0).v[0] % uint32_t(most)) + 1; };
    PlanRequest request{.rule = &find_rule("backprop"), .devices = seed % 3 == 0 ? 4 : 3, .samples = 8};
    request.link = {.latency = 0.1, .bandwidth = seed % 2 == 0 ? 20.0 : 200.0, .holds_sender = seed % 4 < 2};
    std::vector<double> seconds;
    for (int i = 0; i < 4; ++i) seconds.push_back(random(8));
    std::vector<UnitCosts> costs;
    for (const int64_t mbs : {2, 4, 8}) {
      std::vector<double> each = seconds;
      for (double& s : each) s /= double(mbs);
      costs.push_back(units(mbs, each));
      if (seed % 5 == 1) costs.back().costs.backward_weight = {0.01};
      for (StageBytes& b : costs.back().costs.bytes) b.weights = b.gradients = random(60);
    }
    std::vector<AllPlans> all;
    for (const UnitCosts& u : costs) all.emplace_back(request, u);
    const auto fastest = [&](int64_t memory) {
      double best = std::numeric_limits<double>::infinity();
      for (const AllPlans& a : all) best = std::min(best, a.fastest(memory));
      return best;
    };
    const FoundPlan free = search_plans(request, costs)[0];
    EXPECT_NEAR(free.step_seconds, fastest(request.memory), 1e-9) << "seed " << seed << ", " << free.schedule;
    winners.insert(free.workers_of.empty() ? free.schedule : "replicas");
    request.memory = free.peak() - 1;
    const FoundPlan tight = search_plans(request, costs)[0];
    EXPECT_LE(tight.peak(), request.memory);
    EXPECT_NEAR(tight.step_seconds, fastest(request.memory), 1e-9) << "seed " << seed << ", " << tight.schedule;
    winners.insert(tight.workers_of.empty() ? tight.schedule : "replicas");
  }
  EXPECT_GE(winners.size(), 3u) << testing::PrintToString(winners);
  EXPECT_EQ(winners.count("replicas"), 1u);
}

TEST(PlanSearch, SharesManyDevicesOutByPipeDreamsProgramme) {
  UnitCosts u = units(16, std::vector<double>(24, 1.0));
  u.costs.forward[3] = u.costs.backward_input[3] = u.costs.backward_weight[3] = 12;  // of 35
  for (const int devices : {3, 7, 8}) {
    const std::set<ReplicatedStages> all = replicated_stages(u, devices, 1e6);
    EXPECT_FALSE(all.empty());
    for (const ReplicatedStages& s : all) {
      EXPECT_EQ(std::accumulate(s.workers_of.begin(), s.workers_of.end(), 0), devices);
      EXPECT_EQ(s.begins.size(), s.workers_of.size());
      EXPECT_LT(s.begins.size(), size_t(devices));
      EXPECT_EQ(s.begins[0], 0);
    }
  }
  // Half of the work is one unit's: two devices for it and the three before it, one for the rest.
  const ReplicatedStages half{{0, 12}, {2, 1}};
  EXPECT_EQ(replicated_stages(u, 3, 1e6).count(half), 1u);
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
    {"name":"R3.6","cat":"recompute","ph":"X","pid":1,"tid":3,"ts":2000,"dur":500,"args":{"micro_batch":6}},
    {"name":"G3.6","cat":"sum","ph":"X","pid":1,"tid":3,"ts":2500,"dur":500,"args":{"micro_batch":6}}]})";
  const TimelinePicture p = read_trace(trace, "t", /*mbs=*/2, /*first=*/2, /*steps=*/1);
  EXPECT_EQ(p.lanes, (std::vector<std::string>{"", "cpu:1"}));
  ASSERT_EQ(p.boxes.size(), 2u);
  EXPECT_EQ(p.boxes[0].action, act(Do::kForward, 3, 4));
  EXPECT_DOUBLE_EQ(p.boxes[0].begin, 1e-3);
  EXPECT_DOUBLE_EQ(p.boxes[0].end, 1.5e-3);
  EXPECT_EQ(read_trace(trace, "t", 2, 3, 1).boxes[1].action, act(Do::kReduceGrad, 3, 6));
  EXPECT_THROW(read_trace(trace, "t", 2, 9, 1), DataError);
  EXPECT_THROW(read_trace("[]", "t", 2, 0, 1), DataError);
  EXPECT_THROW(read_trace(R"({"traceEvents":[{"name":"x","ph":"X"}]})", "t", 2, 0, 1), DataError);
}

}  // namespace
}  // namespace sluice::plan_search_test
