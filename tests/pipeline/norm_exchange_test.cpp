// Gradients of stages on several devices are clipped as those of one device, bit for bit.
#include "pipeline/norm_exchange.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "tests/pipeline/net.h"

namespace sluice::test::norm_exchange_test {
namespace {

using testing::HasSubstr;

class Clipping : public OnEachPlace {
 protected:
  static std::vector<std::vector<float>> train(const char* schedule, const Placement& placement, float most) {
    const NetOptions o = net({.stages = int(placement.size())});
    Trained t = make_trained(
        make_nets(o),
        {.schedule = schedule, .placement = placement, .mbs = 4, .where = GetParam(), .lr = 0.1f, .most = most});
    execute(t.pipeline, run_options(6));
    return t.weights();
  }
};
INSTANTIATE_TEST_SUITE_P(Places, Clipping, testing::ValuesIn(test_places()), place_label);

TEST_P(Clipping, ManyDevicesGiveTheWeightsOfOne) {
  struct Case {
    const char* schedule;
    Placement placement;
  };
  for (const Case& c :
       {Case{"naive_split", {0, 1, 2, 3}}, Case{"gpipe", {0, 0, 1, 2}}, Case{"one_f_one_b", {0, 1, 1, 2}},
        Case{"interleaved", {0, 1, 0, 1}}, Case{"zb_h1", {0, 1, 2, 3}}, Case{"zb_v", {0, 1, 1, 0}}}) {
    const float most = 0.05f;
    SCOPED_TRACE(c.schedule);
    EXPECT_EQ(train(c.schedule, c.placement, most), train("one_device", all_on_one(4), most));
  }
}

TEST_P(Clipping, LongGradientsAloneAreShortened) {
  const auto plain = train("one_f_one_b", one_each(4), 0);
  EXPECT_EQ(train("one_f_one_b", one_each(4), 1e6f), plain);
  EXPECT_NE(train("one_f_one_b", one_each(4), 0.05f), plain);
}

struct Replicated {
  const char* name;
  InstancePlacement all;
  Plan plan;
};
std::vector<Replicated> replicated() {
  const InstancePlacement both = both_ways({0, 0, 1, 1});
  return {{"chimera", both, chimera(both.placement, 4)},
          {"dual_pipe", both, dual_pipe(both.placement, 4)},
          {"2,1,1", side_by_side({2, 1, 1}), one_f_one_b_side_by_side({2, 1, 1}, 4)},
          {"1,3", side_by_side({1, 3}), one_f_one_b_side_by_side({1, 3}, 5)}};
}
Trained trained(const NetOptions& options, const InstancePlacement& all, const Plan& plan, float most) {
  NetOptions o = options;
  o.stages = *std::max_element(all.stage_of.begin(), all.stage_of.end()) + 1;
  return make_trained(make_instances([&] { return make_nets(o); }, all.stage_of), {.placement = all.placement,
                                                                                   .where = o.where,
                                                                                   .lr = 0.1f,
                                                                                   .most = most,
                                                                                   .stage_of = all.stage_of,
                                                                                   .compute = plan});
}

TEST_P(Clipping, ReplicasGiveTheWeightsOfThoseOnOneWorker) {
  for (const Replicated& r : replicated()) {
    SCOPED_TRACE(r.name);
    Trained t = trained(net(), r.all, r.plan, 0.05f), free = trained(net(), r.all, r.plan, 0);
    const Instances& instances = t.pipeline.wiring.instances;
    Trained one =
        trained(net(), {all_on_one(int(r.all.placement.size())), r.all.stage_of}, one_worker(instances), 0.05f);
    for (Trained* each : {&t, &free, &one}) execute(each->pipeline, run_options(6));
    EXPECT_EQ(t.weights(), one.weights());
    EXPECT_NE(t.weights(), free.weights());
    for (size_t i = 0; i < instances.stage_of.size(); ++i) {
      const Stage &s = *t.pipeline.stages[i], &first = *t.pipeline.stages[size_t(instances.stage(int(i)))];
      EXPECT_EQ(s.arena.values().to_vector<float>(s.stream), first.arena.values().to_vector<float>(first.stream)) << i;
    }
  }
}

TEST_P(Clipping, TheNormCountsEachStageOnce) {
  for (const Replicated& r : replicated()) {
    SCOPED_TRACE(r.name);
    Trained free = trained(net(), r.all, r.plan, 0);
    double squares = 0;
    RunOptions o = run_options(1);
    o.on_action = [&](int, const Action& a, Stage& s) {
      if (a.what != Do::kUpdate || !free.pipeline.wiring.instances.is_first(a.stage)) return;
      s.arena.finish_grads(s.stream);
      for (const float g : s.arena.grads().to_vector<float>(s.stream)) squares += double(g) * double(g);
    };
    execute_serial(free.pipeline, o);
    for (const double share : {0.99, 1.01}) {
      Trained t = trained(net(), r.all, r.plan, float(share * std::sqrt(squares)));
      execute(t.pipeline, run_options(1));
      EXPECT_EQ(t.weights() == free.weights(), share > 1) << share;
    }
  }
}

std::string error_of(const std::string& plan) {
  try {
    meet_before_updates(parse(plan));
  } catch (const ScheduleError& e) {
    return e.what();
  }
  return "none";
}

TEST(MeetBeforeUpdates, PutsAMeetingInFrontOfTheUpdatesOfEachStep) {
  EXPECT_EQ(meet_before_updates(parse("| F0.0 D0.0 U0.0 * 1 |\n| F1.0 F2.0 D2.0 D1.0 U1.0 U2.0 * 1 |")),
            parse("| F0.0 D0.0 a0.0 w0.0 U0.0 * 1 |\n| F1.0 F2.0 D2.0 D1.0 a1.0 w1.0 U1.0 U2.0 * 1 |"));
}

TEST(MeetBeforeUpdates, RefusesPlansWhoseGradientsAreNeverTogether) {
  EXPECT_THAT(error_of("| F0.0 F1.0 D1.0 U1.0 D0.0 U0.0 * 1 |"), HasSubstr("worker 0, U1: "));
  EXPECT_THAT(error_of("| F0.0 D0.0 a0.0 w0.0 U0.0 * 1 |"), HasSubstr("meetings of its own"));
}

}  // namespace
}  // namespace sluice::test::norm_exchange_test
