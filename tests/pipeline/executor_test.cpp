// Schedules that promise it give equal weights, bit for bit; nothing grows, nothing leaks, and every run ends.
#include "pipeline/executor.h"

#include <cmath>
#include <limits>
#include <map>
#include <mutex>

#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::executor_test {
namespace {

using testing::HasSubstr;

std::vector<std::vector<float>> weights_after(Trained& t, int64_t steps) {
  execute(t.pipeline, run_options(steps));
  return t.weights();
}

class Executor : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Executor, testing::ValuesIn(test_places()), place_label);

/// What trains long enough on a CPU; kernels of GPUs may be emulated thread by thread.
int64_t long_run() { return Executor::GetParam() == Where::kCpu ? 20 : 4; }

TEST_P(Executor, SynchronousSchedulesGiveTheWeightsOfOneDevice) {
  const int mbs = 4;
  Trained one = make_trained(net(), "one_device", all_on_one(3), mbs);
  const auto expected = weights_after(one, long_run());
  for (const char* schedule : {"naive_split", "gpipe", "one_f_one_b", "zb_h1", "zb_h2"})
    for (const Placement& placement : {Placement{0, 1, 2}, Placement{0, 0, 1}, Placement{0, 1, 1}}) {
      SCOPED_TRACE(testing::Message() << schedule << " on " << count_workers(placement) << " workers");
      Trained t = make_trained(net(), schedule, placement, mbs);
      EXPECT_EQ(weights_after(t, long_run()), expected);
    }
}

TEST_P(Executor, InterleavedStagesGiveTheWeightsOfOneDevice) {
  const int mbs = 4;
  Trained one = make_trained(net({.stages = 4}), "one_device", all_on_one(4), mbs);
  Trained two = make_trained(net({.stages = 4}), "interleaved", {0, 1, 0, 1}, mbs);
  EXPECT_EQ(weights_after(two, long_run()), weights_after(one, long_run()));
}

TEST_P(Executor, StagesOnAVGiveTheWeightsOfOneDevice) {
  const int mbs = 4, steps = int(long_run());
  Trained one = make_trained(net({.stages = 4}), "one_device", all_on_one(4), mbs);
  const auto expected = weights_after(one, steps);
  for (const char* schedule : {"zb_v", "v_half", "v_min"}) {
    SCOPED_TRACE(schedule);
    Trained two = make_trained(net({.stages = 4}), schedule, {0, 1, 1, 0}, mbs);
    EXPECT_EQ(weights_after(two, steps), expected);
  }
}

TEST_P(Executor, TheSerialOrderGivesTheSameWeights) {
  Trained threads = make_trained(net(), "one_f_one_b", one_each(3), 4),
          serial = make_trained(net(), "one_f_one_b", one_each(3), 4);
  const auto expected = weights_after(threads, 5);
  const RunResult r = execute_serial(serial.pipeline, run_options(5));
  EXPECT_EQ(r.steps, 5);
  EXPECT_EQ(serial.weights(), expected);
}

TEST(MixedExecutor, SynchronousSchedulesAgreeAcrossCpuAndGpu) {
  if (cuda_status().devices == 0) GTEST_SKIP() << "no GPU";
  const NetOptions mixed{.where = Where::kMixed};
  Trained first = make_trained(mixed, "naive_split", one_each(3), 4);
  const auto expected = weights_after(first, 5);
  for (const char* schedule : {"gpipe", "one_f_one_b"}) {
    SCOPED_TRACE(schedule);
    Trained t = make_trained(mixed, schedule, one_each(3), 4), serial = make_trained(mixed, schedule, one_each(3), 4);
    EXPECT_EQ(weights_after(t, 5), expected);
    execute_serial(serial.pipeline, run_options(5));
    EXPECT_EQ(serial.weights(), expected);
  }
}

TEST_P(Executor, EveryModeOfAssociatedLearningGivesTheWeightsOfSequential) {
  for (int mbs : {1, 2}) {
    Trained one = make_trained(net({.stages = 4, .local_losses = true}), "associated", all_on_one(4), mbs);
    const auto expected = weights_after(one, long_run());
    for (const Placement& placement :
         {Placement{0, 1, 2, 3}, Placement{0, 1, 0, 1}, Placement{1, 0, 0, 1}, Placement{0, 0, 1, 1}})
      for (const char* schedule : {"associated_streaming", "associated_m", "associated_p"}) {
        SCOPED_TRACE(testing::Message() << schedule << ", " << mbs << " micro-batches, stage 1 on worker "
                                        << placement[1]);
        Trained t = make_trained(net({.stages = 4, .local_losses = true}), schedule, placement, mbs);
        EXPECT_EQ(weights_after(t, long_run()), expected);
        Trained s = make_trained(net({.stages = 4, .local_losses = true}), schedule, placement, mbs);
        execute_serial(s.pipeline, run_options(long_run()));
        EXPECT_EQ(s.weights(), expected);
      }
  }
}

TEST_P(Executor, FrozenStagesKeepTheirWeightsAndIdleOnesDoNothing) {
  for (const char* schedule : {"associated", "associated_streaming"}) {
    const Placement placement = schedule == std::string("associated") ? all_on_one(3) : one_each(3);
    Trained whole = make_trained(net({.local_losses = true}), schedule, placement, 2);
    const auto initial = whole.weights();
    const auto all = weights_after(whole, 6);
    Trained prefix = make_trained(net({.local_losses = true}), schedule, placement, 2);
    prefix.pipeline.stages[2]->mode = StageMode::kIdle;
    const auto two = weights_after(prefix, 6);
    EXPECT_EQ(two[0], all[0]);
    EXPECT_EQ(two[1], all[1]);
    EXPECT_EQ(two[2], initial[2]);
    Trained fixed = make_trained(net({.local_losses = true}), schedule, placement, 2);
    fixed.pipeline.stages[0]->mode = StageMode::kFrozen;
    fixed.pipeline.stages[2]->mode = StageMode::kIdle;
    const auto middle = weights_after(fixed, 6);
    EXPECT_EQ(middle[0], initial[0]);  // running statistics too
    EXPECT_NE(middle[1], initial[1]);
    EXPECT_NE(middle[1], all[1]);
    EXPECT_EQ(middle[2], initial[2]);
  }
  Trained ends = make_trained(net(), "one_device", all_on_one(3), 1);
  ends.pipeline.stages[0]->mode = StageMode::kFrozen;
  EXPECT_THROW(execute(ends.pipeline, run_options(2)), ScheduleError);
}

TEST_P(Executor, ARunInTwoPartsIsTheSameRun) {
  Trained whole = make_trained(net(), "gpipe", one_each(3), 2), parts = make_trained(net(), "gpipe", one_each(3), 2);
  const auto expected = weights_after(whole, 6);
  execute(parts.pipeline, run_options(4));
  RunOptions rest = run_options(2);
  rest.first_step = 4;
  execute(parts.pipeline, rest);
  EXPECT_EQ(parts.weights(), expected);
}

TEST_P(Executor, ARunMayBeShorterThanThePrologueOfItsPlan) {
  for (const PlanSchedule& schedule : schedules())
    for (int64_t steps : {1, 2}) {
      if (GetParam() != Where::kCpu && schedule.name != std::string("associated_streaming"))
        continue;  // takes its time
      SCOPED_TRACE(testing::Message() << schedule.name << ", " << steps << " steps");
      if (!schedule.synchronous) continue;       // AsynchronousRuns.AreShorterThanThePipelineToo
      if (schedule.spread != nullptr) continue;  // sums in an order of its own: Replicas
      const bool local = !schedule.error_crosses;
      const char* serial = local ? "associated" : "one_device";
      const std::string name = schedule.name;
      const Placement placement = name == "zb_v" || name == "v_half" || name == "v_min" ? Placement{0, 1, 1, 0}
                                  : name == serial                                      ? all_on_one(4)
                                  : local                                               ? Placement{0, 1, 0, 1}
                                                                                        : one_each(4);
      Trained one = make_trained(net({.stages = 4, .local_losses = local}), serial, all_on_one(4), 2);
      Trained t = make_trained(net({.stages = 4, .local_losses = local}), schedule.name, placement, 2);
      EXPECT_EQ(weights_after(t, steps), weights_after(one, steps));
      EXPECT_EQ(execute(t.pipeline, run_options(steps)).steps, steps);
    }
}

TEST_P(Executor, TrainingLowersTheLoss) {
  Trained t = make_trained(net(), "one_f_one_b", one_each(3), 2);
  RunOptions o = run_options(60);
  o.feed = [feed = make_feed()](const FeedRequest& r) { return feed({r.stage, r.mb % 2, r.ports, r.stream}); };
  std::map<int64_t, float> losses;
  o.on_losses = [&](const StepLosses& l) {
    if (l.stage == 2) losses[l.step] = l.values.at(0);
  };
  execute(t.pipeline, o);
  ASSERT_EQ(losses.size(), 60u);
  EXPECT_LT(losses[59], 0.7f * losses[0]);
}

TEST_P(Executor, NothingStaysBehindAStep) {
  for (const char* schedule : {"gpipe", "one_f_one_b", "associated_streaming"}) {
    SCOPED_TRACE(schedule);
    const bool local = std::string(schedule) == "associated_streaming";
    Trained t = make_trained(net({.local_losses = local}), schedule, one_each(3), 2);
    execute(t.pipeline, run_options(2));
    const int64_t after_two = t.live_blocks();
    RunOptions o = run_options(1);
    o.first_step = 2;
    execute(t.pipeline, o);
    EXPECT_EQ(t.live_blocks(), after_two);
    for (const StagePtr& s : t.pipeline.stages) EXPECT_EQ(s->ledger.bytes(), 0);
  }
}

TEST_P(Executor, NothingIsMadeAfterWarmUp) {
  for (const char* schedule : {"gpipe", "one_f_one_b", "associated_streaming"}) {
    SCOPED_TRACE(schedule);
    const bool local = std::string(schedule) == "associated_streaming";
    Trained t = make_trained(net({.local_losses = local}), schedule, one_each(3), 2);
    execute(t.pipeline, run_options(4));
    const int64_t os_calls = t.os_calls();
    std::vector<int64_t> plans, waits;
    for (const Stream& s : t.streams) plans.push_back(s.plans_created());
    for (const Stream& s : t.streams) waits.push_back(s.stats().host_waits);
    execute(t.pipeline, run_options(20));
    EXPECT_EQ(t.os_calls(), os_calls);
    for (size_t w = 0; w < t.streams.size(); ++w) {
      EXPECT_EQ(t.streams[w].plans_created(), plans[w]);
      EXPECT_EQ(t.streams[w].stats().host_waits, waits[w] + 1);  // the drain at the end
    }
  }
}

TEST_P(Executor, ASlowConsumerDoesNotMakeMemoryGrow) {
  if (GetParam() != Where::kCpu) GTEST_SKIP() << "only a CPU's stage can be told to sleep";
  Trained t =
      make_trained(net({.stages = 2, .local_losses = true, .slow_stage = 1}), "associated_streaming", one_each(2), 1);
  execute(t.pipeline, run_options(5));
  const auto peaks = [&](int64_t steps) {
    for (const Stream& s : t.streams) s.pool().reset_peak();
    execute(t.pipeline, run_options(steps));
    std::vector<int64_t> bytes;
    for (const Stream& s : t.streams) bytes.push_back(s.pool().peak());
    return bytes;
  };
  const auto few = peaks(5);
  EXPECT_EQ(peaks(60), few);
}

TEST_P(Executor, ForwardAndBackwardOfAStepReadOneVersion) {
  Trained t = make_trained(net(), "one_f_one_b", one_each(3), 4);
  RunOptions o = run_options(3);
  std::mutex mutex;
  std::map<std::pair<int, int64_t>, std::vector<uint64_t>> versions;  // (stage, step)
  o.on_action = [&](int, const Action& a, Stage& s) {
    if (a.what != Do::kForward && a.what != Do::kBackward) return;
    const std::lock_guard lock(mutex);
    versions[{a.stage, a.mb / 4}].push_back(s.arena.weights().version);
  };
  execute(t.pipeline, o);
  ASSERT_EQ(versions.size(), 9u);
  for (const auto& entry : versions) {
    ASSERT_EQ(entry.second.size(), 8u);
    for (uint64_t v : entry.second) EXPECT_EQ(v, entry.second.front());
    const auto next = versions.find({entry.first.first, entry.first.second + 1});
    if (next == versions.end()) continue;
    EXPECT_NE(next->second.front(), entry.second.front());
  }
}

// ---- ends before the last step ----

TEST_P(Executor, ALossThatIsNotFiniteEndsTheRunWithTheWeightsBefore) {
  for (float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    SCOPED_TRACE(poison);
    Trained sound = make_trained(net(), "one_f_one_b", one_each(3), 2);
    execute(sound.pipeline, run_options(3));
    Trained t = make_trained(net(), "one_f_one_b", one_each(3), 2);
    RunOptions o = run_options(10);
    o.feed = make_feed(/*poisoned=*/2 * 3 + 1, poison);
    try {
      execute(t.pipeline, o);
      FAIL() << "no error";
    } catch (const NumericError& e) {
      EXPECT_THAT(e.what(), HasSubstr(std::isnan(poison) ? "loss of stage 2 is nan at step 3"
                                                         : "loss of stage 2 is inf at step 3"));
    }
    for (size_t s = 0; s < 3; ++s)
      EXPECT_EQ(t.pipeline.stages[s]->arena.values().to_vector<float>(t.streams[s]),
                sound.pipeline.stages[s]->arena.values().to_vector<float>(sound.streams[s]));
  }
}

TEST_P(Executor, AStopEndsAllStagesAtTheSameStep) {
  for (const Placement& placement : {Placement{0, 1, 2, 3}, Placement{0, 1, 0, 1}}) {
    const NetOptions options = net({.stages = 4, .local_losses = true});
    Trained t = make_trained(options, "associated_streaming", placement, 1);
    std::atomic<bool> stop{false};
    RunOptions o = run_options(1000);
    std::map<int, int64_t> last;
    o.stop = &stop;
    o.on_losses = [&](const StepLosses& l) {
      last[l.stage] = l.step;
      if (l.stage == 3 && l.step == 5) stop = true;
    };
    const RunResult r = execute(t.pipeline, o);
    EXPECT_GT(r.steps, 5);
    EXPECT_LT(r.steps, 1000);
    for (const auto& entry : last) EXPECT_EQ(entry.second + 1, r.steps);
    Trained again = make_trained(options, "associated_streaming", placement, 1);
    execute(again.pipeline, run_options(r.steps));
    EXPECT_EQ(t.weights(), again.weights());
  }
}

TEST_P(Executor, AStopBeforeTheFirstStepRunsNone) {
  Trained t = make_trained(net(), "gpipe", one_each(3), 2);
  const auto before = t.weights();
  std::atomic<bool> stop{true};
  RunOptions o = run_options(10);
  o.stop = &stop;
  EXPECT_EQ(execute(t.pipeline, o).steps, 0);
  EXPECT_EQ(t.weights(), before);
}

// ---- bad requests ----

TEST_P(Executor, RefusesStagesThatDoNotMatchThePlan) {
  EXPECT_THROW(make_trained(net({.stages = 2}), "gpipe", one_each(3), 2), ScheduleError);
  Trained t = make_trained(net({.stages = 2}), "gpipe", one_each(2), 2);
  EXPECT_THROW(make_pipeline(std::move(t.pipeline.stages), find_rule("backprop"), gpipe({0, 0}, 2)), ScheduleError);
  EXPECT_THROW(find_rule("hebb"), ConfigError);
}

TEST_P(Executor, AFeedOfTheWrongKindIsNamed) {
  Trained t = make_trained(net(), "gpipe", one_each(3), 2);
  RunOptions o = run_options(2);
  o.feed = [](const FeedRequest&) { return Parcel{}; };
  EXPECT_THROW(execute(t.pipeline, o), DataError);
  o.feed = [](const FeedRequest& r) {
    Parcel p;
    for (size_t i = 0; i < r.ports.size(); ++i) p.values.push_back(random_ints(r.stream, {kRows, kWidth}, 1, 0, 4));
    return p;
  };
  EXPECT_THROW(execute(t.pipeline, o), DTypeError);
}

}  // namespace
}  // namespace sluice::test::executor_test
