// Stages with several instances: bidirectional and hybrid pipelines give the weights of one worker that adds in their
// order, the instances of a stage stay equal, and a step is one step for all of them.
#include <cmath>
#include <limits>
#include <map>

#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::replicas_test {
namespace {

using testing::HasSubstr;

class Replicas : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Replicas, testing::ValuesIn(test_places()), place_label);

int64_t long_run() { return Replicas::GetParam() == Where::kCpu ? 10 : 2; }

Trained trained(const NetOptions& options, const InstancePlacement& all, const Plan& compute) {
  Trained t = make_trained(make_instances([&] { return make_nets(options); }, all.stage_of),
                           {.rule = options.local_losses ? "associated" : "backprop",
                            .placement = all.placement,
                            .where = options.where,
                            .stage_of = all.stage_of,
                            .compute = compute});
  t.options = options;
  return t;
}
/// The same instances and shares on one worker.
Trained on_one_worker(const Trained& t) {
  const Instances& instances = t.pipeline.wiring.instances;
  return trained(t.options, {all_on_one(int(instances.stage_of.size())), instances.stage_of}, one_worker(instances));
}
std::vector<std::vector<float>> weights_after(Trained& t, int64_t steps) {
  execute(t.pipeline, run_options(steps));
  return t.weights();
}
/// Without running statistics, which are of what an instance has seen.
std::vector<float> values(const Trained& t, size_t instance) {
  const Stage& s = *t.pipeline.stages[instance];
  return s.arena.values().to_vector<float>(s.stream);
}
void expect_equal_replicas(const Trained& t) {
  const Instances& instances = t.pipeline.wiring.instances;
  for (size_t i = 0; i < instances.stage_of.size(); ++i)
    EXPECT_EQ(values(t, i), values(t, size_t(instances.stage(int(i))))) << "instance " << i;
}

TEST_P(Replicas, BidirectionalPipelinesGiveTheWeightsOfOneWorker) {
  const NetOptions options = net({.stages = 4});
  for (const char* schedule : {"chimera", "dual_pipe"})
    for (const Placement& placement : {Placement{0, 1, 2, 3}, Placement{0, 0, 1, 1}}) {
      SCOPED_TRACE(testing::Message() << schedule << " on " << count_workers(placement) << " workers");
      Trained t = make_trained(options, schedule, placement, 8), serial = make_trained(options, schedule, placement, 8);
      Trained one = on_one_worker(t);
      const auto initial = t.weights(), expected = weights_after(one, long_run());
      EXPECT_NE(expected, initial);
      EXPECT_EQ(weights_after(t, long_run()), expected);
      execute_serial(serial.pipeline, run_options(long_run()));
      EXPECT_EQ(serial.weights(), expected);
      expect_equal_replicas(t);
    }
}

TEST_P(Replicas, BidirectionalPipelinesAddInOneOrder) {
  Trained there = make_trained(net({.stages = 4}), "chimera", one_each(4), 8);
  Trained both = make_trained(net({.stages = 4}), "dual_pipe", one_each(4), 8);
  EXPECT_EQ(weights_after(there, long_run()), weights_after(both, long_run()));
}

TEST_P(Replicas, HybridPipelinesGiveTheWeightsOfOneWorker) {
  for (const std::vector<int>& workers_of : {std::vector<int>{3, 1}, {1, 3}, {2, 1, 2}, {4}})
    for (const int mbs : {4, 6}) {
      SCOPED_TRACE(testing::Message() << workers_of.size() << " stages, " << mbs << " micro-batches");
      const NetOptions options = net({.stages = int(workers_of.size())});
      const Plan plan = one_f_one_b_side_by_side(workers_of, mbs);
      Trained t = trained(options, side_by_side(workers_of), plan);
      Trained serial = trained(options, side_by_side(workers_of), plan), one = on_one_worker(t);
      const auto expected = weights_after(one, long_run());
      EXPECT_EQ(weights_after(t, long_run()), expected);
      execute_serial(serial.pipeline, run_options(long_run()));
      EXPECT_EQ(serial.weights(), expected);
      expect_equal_replicas(t);
    }
}

TEST_P(Replicas, StagesWithLossesOfTheirOwnHaveReplicasToo) {
  const NetOptions options = net({.stages = 2, .local_losses = true});
  const InstancePlacement all = side_by_side({2, 1});
  Trained t = trained(options, all, one_f_one_b_side_by_side({2, 1}, 4)), one = on_one_worker(t);
  EXPECT_EQ(weights_after(t, long_run()), weights_after(one, long_run()));
  expect_equal_replicas(t);
}

// The sum of all gradients in another order than one device adds them: near, but not the same. Biases before a
// normalisation have no gradient but rounding, of which Adam makes whole steps.
TEST_P(Replicas, ReplicasTrainAsOneDeviceUpToRounding) {
  Trained one = make_trained(net({.stages = 4}), "one_device", all_on_one(4), 8);
  Trained t = make_trained(net({.stages = 4}), "chimera", one_each(4), 8);
  execute(one.pipeline, run_options(2));
  execute(t.pipeline, run_options(2));
  for (size_t s = 0; s < 4; ++s) {
    const std::vector<float> a = values(one, s), b = values(t, s);
    const Arena& arena = one.pipeline.stages[s]->arena;
    for (int p = 0; p < int(arena.specs().size()); ++p) {
      const ParamSpec& spec = arena.specs()[size_t(p)];
      if (spec.path.ends_with(".b")) continue;
      const size_t begin = size_t(arena.offset(p));
      for (size_t i = begin; i < begin + size_t(spec.shape.numel()); ++i) ASSERT_NEAR(a[i], b[i], 2e-4) << spec.path;
    }
  }
}

TEST_P(Replicas, LossesAreOfStagesAndOfWholeSteps) {
  using Losses = std::map<std::pair<int, int64_t>, std::vector<float>>;
  const auto losses_of = [](Trained& t) {
    Losses losses;
    RunOptions o = run_options(3);
    o.on_losses = [&](const StepLosses& l) {
      const bool fresh = losses.emplace(std::pair(l.stage, l.step), l.values).second;
      EXPECT_TRUE(fresh) << "stage " << l.stage << ", step " << l.step;
    };
    execute(t.pipeline, o);
    return losses;
  };
  Trained t = make_trained(net({.stages = 4}), "chimera", one_each(4), 4), one = on_one_worker(t);
  Trained plain = make_trained(net({.stages = 4}), "one_device", all_on_one(4), 4);
  const Losses losses = losses_of(t), of_plain = losses_of(plain);
  EXPECT_EQ(losses, losses_of(one));
  ASSERT_EQ(losses.size(), 4u * 3u);
  ASSERT_EQ(of_plain.size(), losses.size());
  for (const auto& [at, expected] : of_plain) {
    ASSERT_EQ(losses.at(at).size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(losses.at(at)[i], expected[i], 1e-4);
  }
}

TEST_P(Replicas, ALossThatIsNotFiniteChangesNoInstance) {
  for (const int64_t poisoned : {4 * 3 + 0, 4 * 3 + 1}) {  // of one direction each
    Trained sound = make_trained(net({.stages = 4}), "chimera", one_each(4), 4);
    execute(sound.pipeline, run_options(3));
    Trained t = make_trained(net({.stages = 4}), "chimera", one_each(4), 4);
    RunOptions o = run_options(6);
    o.feed = make_feed(poisoned, std::numeric_limits<float>::quiet_NaN());
    try {
      execute(t.pipeline, o);
      FAIL() << "no error";
    } catch (const NumericError& e) {
      EXPECT_THAT(e.what(), HasSubstr("loss of stage 3 is nan at step 3"));
    }
    for (size_t i = 0; i < 8; ++i) EXPECT_EQ(values(t, i), values(sound, i)) << "instance " << i;
  }
}

TEST_P(Replicas, NothingStaysBehindAStepAndNothingIsMadeAfterWarmUp) {
  for (const char* schedule : {"chimera", "dual_pipe"}) {
    SCOPED_TRACE(schedule);
    Trained t = make_trained(net({.stages = 2}), schedule, one_each(2), 4);
    execute(t.pipeline, run_options(4));
    const int64_t blocks = t.live_blocks(), os_calls = t.os_calls();
    RunOptions o = run_options(10);
    o.first_step = 4;
    execute(t.pipeline, o);
    EXPECT_EQ(t.live_blocks(), blocks);
    EXPECT_EQ(t.os_calls(), os_calls);
  }
}

TEST_P(Replicas, TheSentBytesHoldTheGradientsThereAndTheSumBack) {
  Trained t = make_trained(net({.stages = 2}), "chimera", one_each(2), 2);
  const RunResult r = execute(t.pipeline, run_options(3));
  for (int stage = 0; stage < 2; ++stage)
    for (const auto& [from, to] : {std::pair(stage, stage + 2), std::pair(stage + 2, stage)}) {
      const int64_t gradients = t.pipeline.stages[size_t(stage)]->arena.grads().bytes();
      bool found = false;
      for (const Sent& s : r.sent) {
        if (s.from != from || s.to != to) continue;
        found = true;
        EXPECT_EQ(s.parcels, 3);
        EXPECT_EQ(s.bytes, 3 * (gradients + 4));  // and a flag
      }
      EXPECT_TRUE(found) << from << ">" << to;
    }
}

TEST_P(Replicas, ThePipelineRefusesInstancesOfOtherStages) {
  const InstancePlacement all = both_ways(one_each(2));
  const auto make = [&](const std::vector<int>& nets, std::vector<int> stage_of, const char* rule) {
    return make_trained(
        make_instances([] { return make_nets({.stages = 2}); }, nets),
        {.rule = rule, .schedule = "chimera", .placement = all.placement, .mbs = 2, .stage_of = std::move(stage_of)});
  };
  EXPECT_NO_THROW(make({0, 1, 0, 1}, {0, 1, 0, 1}, "backprop"));
  EXPECT_THROW(make({0, 1, 1, 0}, {0, 1, 0, 1}, "backprop"), ScheduleError);
  EXPECT_THROW(make({0, 1, 0, 1}, {0, 1, 0}, "backprop"), ScheduleError);
  EXPECT_THROW(make({0, 1, 0, 1}, {0, 0, 0, 1}, "backprop"), ScheduleError);
  EXPECT_THROW(make({0, 1, 0, 1}, {0, 1, 0, 1}, "naive"), ScheduleError);
}

}  // namespace
}  // namespace sluice::test::replicas_test
