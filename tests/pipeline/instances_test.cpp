// Stages with several instances on paper: the texts of bidirectional and hybrid schedules, their times and memory, and
// what validate() and share_out() refuse of them.
#include "pipeline/instances.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "pipeline/schedules.h"
#include "pipeline/simulate.h"
#include "pipeline/transfers.h"

namespace sluice::instances_test {
namespace {

using testing::HasSubstr;

Wiring wiring(const InstancePlacement& all, const Plan& plan) {
  Wiring w;
  w.stages = int(all.stage_of.size());
  w.instances = share_out(all.stage_of, plan);
  w.edges = between(w.instances, chain(*std::max_element(all.stage_of.begin(), all.stage_of.end()) + 1));
  return w;
}

// ---- texts ----

TEST(Instances, Chimera) {
  const InstancePlacement all = both_ways(one_each(2));
  EXPECT_EQ(all.placement, (Placement{0, 1, 1, 0}));
  EXPECT_EQ(all.stage_of, (std::vector<int>{0, 1, 0, 1}));
  const Plan plan = chimera(all.placement, 2);
  EXPECT_EQ(to_text(plan),
            "| F0.0 F3.1 D3.1 D0.0 G0.0 G3.0 U0 U3 * 2 |\n"
            "| F2.1 F1.0 D1.0 D2.1 G1.0 G2.0 U1 U2 * 2 |\n");
  EXPECT_EQ(to_text(add_transfers(plan, wiring(all, plan))),
            "| F0.0 s0.0>1 r3.1<2 F3.1 D3.1 s3.1>2 s3.0>1 r0.0<1 D0.0 r0.0<2 G0.0 s0.0>2 r3.0<1 G3.0 U0 U3 * 2 |\n"
            "| F2.1 s2.1>3 r1.0<0 F1.0 D1.0 s1.0>0 r2.1<3 D2.1 s2.0>0 r1.0<3 G1.0 s1.0>3 r2.0<0 G2.0 U1 U2 * 2 |\n");
  EXPECT_EQ(to_text(chimera(both_ways({0, 0, 1}).placement, 2)),
            "| F0.0 F1.0 F5.1 D5.1 D1.0 D0.0 G0.0 G1.0 G5.0 U0 U1 U5 * 2 |\n"
            "| F3.1 F4.1 F2.0 D2.0 D4.1 D3.1 G2.0 G3.0 G4.0 U2 U3 U4 * 2 |\n");
}

TEST(Instances, DualPipe) {
  EXPECT_EQ(to_text(dual_pipe(both_ways(one_each(2)).placement, 4)),
            "| F0.0 F3.1 F0.2 D3.1 F3.3 D0.0 D3.3 B0.2 W0.2 G0.0 G3.0 U0 U3 * 4 |\n"
            "| F2.1 F1.0 F2.3 D1.0 F1.2 D2.1 D1.2 B2.3 W2.3 G1.0 G2.0 U1 U2 * 4 |\n");
  EXPECT_EQ(to_text({dual_pipe(both_ways(one_each(4)).placement, 8)[0]}),
            "| F0.0 F0.2 F0.4 F7.1 B7.1 W7.1 F7.3 F0.6 D7.3 F7.5 D0.0 D7.5 F7.7 D0.2 D7.7 B0.4 W0.4 B0.6 W0.6 "
            "G0.0 G7.0 U0 U7 * 8 |\n");
}

TEST(Instances, SideBySide) {
  const InstancePlacement all = side_by_side({2, 1});
  EXPECT_EQ(all.placement, (Placement{0, 2, 1}));
  EXPECT_EQ(all.stage_of, (std::vector<int>{0, 1, 0}));
  const Plan plan = one_f_one_b_side_by_side({2, 1}, 3);
  EXPECT_EQ(to_text(plan),
            "| F0.0 F0.2 D0.0 D0.2 G0.0 U0 * 3 |\n"
            "| F2.1 D2.1 G2.0 U2 * 3 |\n"
            "| F1.0 D1.0 F1.1 D1.1 F1.2 D1.2 U1 * 3 |\n");
  EXPECT_EQ(to_text(add_transfers(plan, wiring(all, plan))),
            "| F0.0 s0.0>1 F0.2 s0.2>1 r0.0<1 D0.0 r0.2<1 D0.2 r0.0<2 G0.0 s0.0>2 U0 * 3 |\n"
            "| F2.1 s2.1>1 r2.1<1 D2.1 s2.0>0 r2.0<0 G2.0 U2 * 3 |\n"
            "| r1.0<0 F1.0 D1.0 s1.0>0 r1.1<2 F1.1 D1.1 s1.1>2 r1.2<0 F1.2 D1.2 s1.2>0 U1 * 3 |\n");
  EXPECT_EQ(one_f_one_b_side_by_side({1, 1, 1}, 5), one_f_one_b(one_each(3), 5));
}

/// A plan of every schedule in the table, over four workers where it takes so many.
std::vector<InstancePlan> one_of_each() {
  std::vector<InstancePlan> plans;
  for (const PlanSchedule& s : schedules()) {
    const size_t before = plans.size();
    for (const Placement& p : {one_each(4), Placement{0, 1, 2, 3, 3, 2, 1, 0}, all_on_one(4)}) {
      if (plans.size() > before) break;
      try {
        const InstancePlacement all = s.placed(p);
        plans.push_back({s.make(all.placement, 8), all.stage_of});
      } catch (const ScheduleError&) {  // not for this placement
      }
    }
    EXPECT_GT(plans.size(), before) << s.name;
  }
  for (const std::vector<int>& workers_of : {std::vector<int>{2, 1}, {1, 3, 2}, {1, 1}, {4}})
    plans.push_back({one_f_one_b_side_by_side(workers_of, 6), side_by_side(workers_of).stage_of});
  return plans;
}

TEST(Instances, EveryPlanIsReadBack) {
  for (const InstancePlan& plan : one_of_each()) EXPECT_EQ(parse_instances(to_text(plan)), plan) << to_text(plan);
  const InstancePlacement all = both_ways(one_each(2));
  const InstancePlan plan{chimera(all.placement, 2), all.stage_of};
  EXPECT_EQ(to_text(plan), "stage_of 0 1 0 1\n" + to_text(plan.plan));
  EXPECT_EQ(parse_instances("\n  stage_of  0 1\t0 1\r\n\n" + to_text(plan.plan)), plan);
  EXPECT_EQ(plan.stages(), 2);
  EXPECT_EQ((InstancePlan{gpipe({0, 0, 1}, 2), {}}.stages()), 3);
}

// ---- times and memory ----

/// Of one step where a worker's stages of one direction take as said.
struct Played {
  double makespan = 0;
  std::vector<double> peak;  // of each worker, in activations of a micro-batch
};
Played played(const InstancePlacement& all, const Plan& compute, const CostModel& costs) {
  const Wiring w = wiring(all, compute);
  Played p{simulate(add_transfers(compute, w), w, costs, compute[0].mbs_per_period).makespan, {}};
  for (const Program& program : compute) {
    int kept = 0, most = 0;
    for (const Action& a : program.period) {
      if (a.what == Do::kForward) most = std::max(most, ++kept);
      if (a.what == Do::kBackward || a.what == Do::kBackwardWeight) --kept;
    }
    p.peak.push_back(most);
  }
  return p;
}

TEST(Instances, ChimeraTakesTheTimesAndTheMemoryOfItsPaper) {
  const auto run = [](int workers, int mbs, const CostModel& costs) {
    const InstancePlacement all = both_ways(one_each(workers));
    return played(all, chimera(all.placement, mbs), costs);
  };
  const CostModel equal{{1}, {1}, {}, {}}, twice{{1}, {1}, {1}, {}};
  EXPECT_EQ(run(4, 4, equal).makespan, 10);
  EXPECT_EQ(run(8, 8, equal).makespan, 22);
  EXPECT_EQ(run(8, 16, equal).makespan, 38);
  EXPECT_EQ(run(4, 4, twice).makespan, 16);
  EXPECT_EQ(run(8, 8, twice).makespan, 36);
  for (int workers = 2; workers <= 12; workers += 2) {
    EXPECT_EQ(run(workers, workers, equal).makespan, 2 * workers + (workers - 2));
    EXPECT_EQ(run(workers, workers, twice).makespan, 3 * workers + 2 * (workers - 2));
  }
  EXPECT_EQ(run(4, 4, equal).peak, (std::vector<double>{3, 4, 4, 3}));
  EXPECT_EQ(run(8, 8, equal).peak, (std::vector<double>{5, 6, 7, 8, 8, 7, 6, 5}));
  EXPECT_EQ(run(8, 32, equal).peak, (std::vector<double>{5, 6, 7, 8, 8, 7, 6, 5}));
}

/// The time of a step where a worker runs a forward and the backward behind it as one, which takes as long as both. No
/// code is shared with simulate(). The first pair of the two workers in the middle is two actions.
double overlapped(const InstancePlacement& all, const Plan& plan) {
  const int stages = int(all.stage_of.size()) / 2, workers = int(plan.size());
  std::map<std::pair<char, std::pair<int, int64_t>>, double> end;  // forwards 'F', input gradients 'B', of instances
  const auto needs = [&](const Action& a, double& begin) {
    const int first = a.stage / stages * stages, last = first + stages - 1;
    const auto after = [&](char what, int stage) {
      const auto it = end.find({what, {stage, a.mb}});
      if (it == end.end()) return false;
      begin = std::max(begin, it->second);
      return true;
    };
    if (a.what == Do::kForward) return a.stage == first || after('F', a.stage - 1);
    if (a.what == Do::kBackwardWeight) return after('B', a.stage);
    if (a.what == Do::kBackward || a.what == Do::kBackwardInput)
      return after('F', a.stage) && (a.stage == last || after('B', a.stage + 1));
    return true;
  };
  std::vector<size_t> at(plan.size(), 0);
  std::vector<double> free(plan.size(), 0.0);
  std::vector<bool> began(plan.size(), false);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t w = 0; w < plan.size(); ++w)
      while (at[w] < plan[w].period.size()) {
        const Action* a = &plan[w].period[at[w]];
        const bool pair = a[0].what == Do::kForward && a[1].what == Do::kBackward;
        const bool middle = int(w) == workers / 2 || int(w) == workers / 2 - 1;
        const bool together = pair && (began[w] || !middle);
        double begin = free[w];
        if (!needs(a[0], begin) || (together && !needs(a[1], begin))) break;
        double cost = a[0].what == Do::kBackward ? 2 : a[0].what == Do::kUpdate || a[0].what == Do::kReduceGrad ? 0 : 1;
        if (together) cost += 2;
        free[w] = begin + cost;
        for (int i = 0; i <= int(together); ++i)
          if (a[i].what != Do::kBackwardWeight)
            end[{a[i].what == Do::kForward ? 'F' : 'B', {a[i].stage, a[i].mb}}] = free[w];
        began[w] = began[w] || pair;
        at[w] += together ? 2 : 1;
        moved = true;
      }
  }
  for (size_t w = 0; w < plan.size(); ++w) EXPECT_EQ(at[w], plan[w].period.size()) << "worker " << w << " is stuck";
  return *std::max_element(free.begin(), free.end());
}

TEST(Instances, DualPipeTakesTheTimesAndTheMemoryOfItsReport) {
  const CostModel halves{{1}, {1}, {1}, {}};
  for (int workers = 2; workers <= 12; workers += 2)
    for (const int mbs : {2 * workers, 2 * workers + 2, 4 * workers}) {
      SCOPED_TRACE(testing::Message() << workers << " workers, " << mbs << " micro-batches");
      const InstancePlacement all = both_ways(one_each(workers));
      const Plan plan = dual_pipe(all.placement, mbs);
      const Played one_by_one = played(all, plan, halves);
      EXPECT_EQ(one_by_one.makespan, 3 * mbs + (workers / 2 - 1));
      EXPECT_EQ(overlapped(all, plan), 3 * mbs + 2 * (workers / 2 - 1));
      EXPECT_THAT(one_by_one.peak, testing::Each(workers + 1));
    }
}

TEST(Instances, EveryWidthIsSound) {
  for (int workers = 2; workers <= 8; workers += 2)
    for (int k = 1; k <= 3; ++k) {
      SCOPED_TRACE(testing::Message() << workers << " workers, " << k);
      Placement stages = one_each(workers);
      stages.insert(stages.begin(), 0);
      const InstancePlacement all = both_ways(stages);
      const Plan there = chimera(all.placement, k * workers), both = dual_pipe(all.placement, 2 * (workers + k));
      EXPECT_NO_THROW(validate(add_transfers(there, wiring(all, there)), wiring(all, there)));
      EXPECT_NO_THROW(validate(add_transfers(both, wiring(all, both)), wiring(all, both)));
    }
  for (const std::vector<int>& workers_of : {std::vector<int>{3, 1}, {1, 3}, {2, 3, 1}, {4}, {1, 2, 2, 5}, {5, 3, 2}})
    for (int mbs = *std::max_element(workers_of.begin(), workers_of.end()); mbs < 12; ++mbs) {
      SCOPED_TRACE(testing::Message() << workers_of.size() << " stages, " << mbs << " micro-batches");
      const Plan plan = one_f_one_b_side_by_side(workers_of, mbs);
      const Wiring w = wiring(side_by_side(workers_of), plan);
      EXPECT_NO_THROW(validate(add_transfers(plan, w), w));
    }
}

TEST(Instances, CostsAreThoseOfTheStages) {
  const InstancePlacement all = side_by_side({2, 1});
  const Plan plan = one_f_one_b_side_by_side({2, 1}, 2);
  const Wiring w = wiring(all, plan);
  CostModel stages{{1, 2}, {3}, {}, {}, {.latency = 1}, {{0, 1, 10, 20}}, {{.weights = 5, .gradients = 4}, {}}};
  const CostModel costs = between(w.instances, stages);
  EXPECT_EQ(costs.forward, (std::vector<double>{1, 2, 1}));
  EXPECT_EQ(costs.backward_input, (std::vector<double>{3, 3, 3}));
  EXPECT_EQ(costs.parcel(2, 1), 10);
  EXPECT_EQ(costs.parcel(1, 2), 20);
  EXPECT_EQ(costs.parcel(0, 2), 4);
  EXPECT_EQ(costs.parcel(2, 0), 4);
  const Timeline t = simulate(add_transfers(plan, w), w, costs, 2);
  // Worker 2: F1.0 D1.0 F1.1 D1.1 from 2 to 12, a way back of 1, the last D2.1 of 3; then there and back.
  EXPECT_EQ(t.makespan, 12 + 1 + 3 + 2);
  EXPECT_EQ(t.bytes[0].weights, 5);
  EXPECT_EQ(t.bytes[1].weights, 5);
  EXPECT_EQ(t.bytes[1].parcels, 4 + 2 * 20);
}

// ---- what is refused ----

TEST(Instances, GeneratorsRefuseWhatTheyCannotServe) {
  for (const auto make : {chimera, dual_pipe}) {
    EXPECT_THROW(make(one_each(4), 8), ScheduleError);
    EXPECT_THROW(make({0, 1, 0, 1}, 8), ScheduleError);
    EXPECT_THROW(make(both_ways(one_each(3)).placement, 12), ScheduleError);
    EXPECT_THROW(make(both_ways(one_each(2)).placement, 3), ScheduleError);
    EXPECT_THROW(make({}, 2), ScheduleError);
  }
  EXPECT_THROW(dual_pipe(both_ways(one_each(4)).placement, 6), ScheduleError);
  EXPECT_THROW(chimera(both_ways(one_each(4)).placement, 6), ScheduleError);
  EXPECT_THROW(one_f_one_b_side_by_side({3, 1}, 2), ScheduleError);
  EXPECT_THROW(one_f_one_b_side_by_side({}, 2), ScheduleError);
  EXPECT_THROW(side_by_side({1, 0}), ScheduleError);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const ScheduleError& e) {
    return e.what();
  }
  return "sound";
}

TEST(Instances, TextsAreRefusedWithLineAndWord) {
  const auto why = [](const std::string& text) { return error_of([&] { parse_instances(text); }); };
  const std::string plan = "| F0.0 D0.0 G0.0 U0 * 2 |\n| F1.1 D1.1 G1.0 U1 * 2 |\n";
  EXPECT_EQ(why("stage_of 0 0\n" + plan), "sound");
  EXPECT_THAT(why("\nstage_of 0 x\n" + plan), HasSubstr("line 2: 'x' is no stage, expected such as stage_of 0 1 0 1"));
  EXPECT_THAT(why("stage_of 0 -1\n" + plan), HasSubstr("line 1: '-1' is no stage"));
  EXPECT_THAT(why("stage_of\n" + plan), HasSubstr("line 1: stage_of names no stage"));
  EXPECT_THAT(why("stage_of 0 0 0\n" + plan), HasSubstr("stage_of names the stages of 3 instances, the plan has 2"));
  EXPECT_THAT(why("stage_of 0 2\n" + plan), HasSubstr("instance 1 computes stage 2, expected the first instances"));
  EXPECT_THAT(why(plan + "stage_of 0 0\n"), HasSubstr("line 3: 'stage_of' is no action"));
  EXPECT_THAT(why("stage_of 0 0\n| F0.0 * 1 |\n| F1,0 * 1 |\n"), HasSubstr("line 3: 'F1,0' is no action"));
}

TEST(Instances, SharesAreReadOffThePlan) {
  const Plan plan = parse("| F0.0 D0.0 F0.2 D0.2 G0.0 U0 * 3 |\n| F1.1 D1.1 G1.0 U1 * 3 |\n");
  const Instances all = share_out({0, 0}, plan);
  EXPECT_EQ(all.shares, (std::vector<std::vector<bool>>{{true, false, true}, {false, true, false}}));
  EXPECT_TRUE(all.computes(0, 5));
  EXPECT_FALSE(all.computes(0, 4));
  EXPECT_EQ(all.count(0, 3), 2);
  EXPECT_EQ(all.place(0, 2), 1);
  EXPECT_EQ(Instances{}.place(0, 2), 2);
  EXPECT_EQ(all.replicas(1), std::vector<int>{0});
  EXPECT_EQ(share_out({0, 1}, plan), Instances{});
  const auto why = [](std::vector<int> stage_of, const char* text) {
    return error_of([&] { share_out(std::move(stage_of), parse(text)); });
  };
  EXPECT_THAT(why({0, 0, 2}, "| F0.0 * 1 |"), HasSubstr("instance 1 computes stage 0"));
  EXPECT_THAT(why({0, 3}, "| F0.0 * 1 |"), HasSubstr("instance 1 computes stage 3"));
  EXPECT_THAT(why({0, 0}, "| F0.0 * 1 |\n| F1.0 * 1 |"),
              HasSubstr("worker 1, position 0, F1.0: instance 0 of the same stage computes this micro-batch too"));
  EXPECT_THAT(why({0, 0}, "| F0.0 * 3 |\n| F1.1 * 3 |"), HasSubstr("F0.2: no instance of stage 0"));
  EXPECT_THAT(why({0, 0}, "| F0.0 * 1 |\n| * 1 |"), HasSubstr("instance 1: computes no micro-batch"));
  EXPECT_THAT(why({0, 0}, "F0.0 | F0.1 * 1 |\n| * 1 |"), HasSubstr("worker 0: replicas in a plan with prologue"));
}

const char* const kSound =
    "| F0.0 D0.0 r0.0<1 G0.0 s0.0>1 U0 * 2 |\n"
    "| F1.1 D1.1 s1.0>0 r1.0<0 G1.0 U1 * 2 |\n";
std::string fault(const std::string& what, const std::string& by) {
  std::string text = kSound;
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  Wiring w;
  w.stages = 2;
  w.instances = share_out({0, 0}, parse(kSound));
  return error_of([&] { validate(parse(text.replace(at, what.size(), by)), w, 2); });
}

TEST(Instances, ValidateNamesWhatIsWrongWithASum) {
  EXPECT_EQ(fault("U1", "U1"), "sound");
  EXPECT_THAT(fault(" G1.0", ""), HasSubstr("G1.0: missing from the program"));
  EXPECT_THAT(fault(" s1.0>0", ""), HasSubstr("s1.0>0: missing"));
  EXPECT_THAT(fault("G1.0", "G1.0 G1.0"), HasSubstr("worker 1, position 5, G1.0: doubled"));
  EXPECT_THAT(fault("G1.0", "G1.0 G1.1"), HasSubstr("G1.1: not expected: an update names the first"));
  EXPECT_THAT(fault("D1.1 s1.0>0", "s1.0>0 D1.1"), HasSubstr("s1.0>0: can never run: its parcel is not made"));
  EXPECT_THAT(fault("r1.0<0 G1.0 U1", "U1 r1.0<0 G1.0"), HasSubstr("U1: can never run: its sum has not run"));
  EXPECT_THAT(fault("G0.0 s0.0>1 U0", "G0.0 U0 s0.0>1"), HasSubstr("s0.0>1: can never run: its parcel is not made"));
  EXPECT_THAT(fault("s1.0>0 r1.0<0", "r1.0<0 s1.0>0"),
              HasSubstr("worker 1 stands at position 2, r1.0<0: stage 0 has not sent it"));
  EXPECT_THAT(fault("r0.0<1 G0.0", "G0.0 r0.0<1"), HasSubstr("G0.0: can never run: no gradients from instance 1"));
  EXPECT_THAT(fault("F1.1 D1.1", "F1.1 D1.1 F1.0 D1.0"),
              HasSubstr("worker 1, position 2, F1.0: not expected: another instance of stage 0 computes"));
}

TEST(Instances, OnOneWorkerTheFirstInstanceAddsFirst) {
  const std::string sound = "| F0.0 D0.0 F1.1 D1.1 G0.0 G1.0 U0 U1 * 2 |";
  Wiring w;
  w.stages = 2;
  w.instances = share_out({0, 0}, parse(sound));
  const auto why = [&](const std::string& text) { return error_of([&] { validate(parse(text), w, 2); }); };
  EXPECT_EQ(why(sound), "sound");
  EXPECT_THAT(why("| F0.0 D0.0 F1.1 D1.1 G1.0 G0.0 U0 U1 * 2 |"), HasSubstr("G1.0: can never run: no gradients from"));
  EXPECT_THAT(why("| F0.0 D0.0 G0.0 F1.1 D1.1 G1.0 U0 U1 * 2 |"), HasSubstr("G0.0: can never run: no gradients from"));
  EXPECT_THAT(why("| F0.0 D0.0 F1.1 D1.1 G0.0 U0 G1.0 U1 * 2 |"), HasSubstr("G1.0: can never run: no gradients from"));
  w.instances = share_out({0, 0}, parse("| F0.0 D0.0 F1.1 D1.1 F0.2 D0.2 G0.0 G1.0 U0 U1 * 3 |"));
  EXPECT_THAT(why(sound), HasSubstr("2 micro-batches a step, the instances share 3"));
  w.stages = 1;
  w.instances = {};
  EXPECT_THAT(why("| F0.0 D0.0 F0.1 D0.1 G0.0 U0 * 2 |"), HasSubstr("G0.0: not expected: its stage has no other"));
}

TEST(Instances, TheOrderOfSumsIsWhatBitsFollow) {
  for (const char* name : {"gpipe", "one_f_one_b", "zb_h1", "zb_h2", "naive_split"})
    EXPECT_EQ(order_of_sums(find_schedule(name).make(one_each(4), 4), {}), "0 1 2 3") << name;
  const InstancePlacement beside = side_by_side({1, 2});
  EXPECT_EQ(order_of_sums(one_f_one_b_side_by_side({1, 2}, 4), beside.stage_of), "0 1 2 3; 0 2, 1 3");
  EXPECT_EQ(order_of_sums(parse("| F0.0 F0.1 D0.1 D0.0 U0 * 2 |"), {}), "1 0");
  EXPECT_EQ(order_of_sums(parse("| F0.0 F0.1 B0.0 B0.1 W0.1 W0.0 U0 * 2 |"), {}), "1 0");
}

}  // namespace
}  // namespace sluice::instances_test
