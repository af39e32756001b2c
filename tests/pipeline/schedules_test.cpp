// Each schedule's text is the test; so is the picture that it gives on paper.
#include "pipeline/schedules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "pipeline/simulate.h"
#include "pipeline/transfers.h"

namespace sluice::schedules_test {
namespace {

/// Stages 0 to p - 1 on workers 0 to p - 1, stages p to 2 p - 1 on p - 1 to 0.
Placement v_shape(int workers) {
  Placement p = one_each(workers);
  for (int w = workers - 1; w >= 0; --w) p.push_back(w);
  return p;
}

Wiring wiring(int stages, bool error_crosses) {
  Wiring w;
  w.stages = stages;
  w.edges = chain(stages);
  w.error_crosses = error_crosses;
  return w;
}

TEST(Schedules, OneDevice) {
  EXPECT_EQ(to_text(one_device(all_on_one(2), 2)), "| F0.0 F1.0 D1.0 D0.0 F0.1 F1.1 D1.1 D0.1 U0 U1 * 2 |\n");
}

TEST(Schedules, NaiveSplit) {
  EXPECT_EQ(to_text(naive_split(one_each(2), 2)),
            "| F0.0 D0.0 F0.1 D0.1 U0 * 2 |\n"
            "| F1.0 D1.0 F1.1 D1.1 U1 * 2 |\n");
}

TEST(Schedules, GPipe) {
  EXPECT_EQ(to_text(gpipe(one_each(2), 3)),
            "| F0.0 F0.1 F0.2 D0.0 D0.1 D0.2 U0 * 3 |\n"
            "| F1.0 F1.1 F1.2 D1.0 D1.1 D1.2 U1 * 3 |\n");
}

TEST(Schedules, OneForwardOneBackward) {
  EXPECT_EQ(to_text(one_f_one_b(one_each(3), 4)),
            "| F0.0 F0.1 F0.2 D0.0 F0.3 D0.1 D0.2 D0.3 U0 * 4 |\n"
            "| F1.0 F1.1 D1.0 F1.2 D1.1 F1.3 D1.2 D1.3 U1 * 4 |\n"
            "| F2.0 D2.0 F2.1 D2.1 F2.2 D2.2 F2.3 D2.3 U2 * 4 |\n");
}

TEST(Schedules, OneForwardOneBackwardWithFewerMicroBatchesThanStages) {
  EXPECT_EQ(to_text(one_f_one_b(one_each(3), 1)), "| F0.0 D0.0 U0 * 1 |\n| F1.0 D1.0 U1 * 1 |\n| F2.0 D2.0 U2 * 1 |\n");
}

TEST(Schedules, Interleaved) {
  EXPECT_EQ(to_text(interleaved({0, 1, 0, 1}, 2)),
            "| F0.0 F0.1 F2.0 F2.1 D2.0 D2.1 D0.0 D0.1 U0 U2 * 2 |\n"
            "| F1.0 F1.1 F3.0 D3.0 F3.1 D3.1 D1.0 D1.1 U1 U3 * 2 |\n");
  EXPECT_EQ(interleaved(one_each(3), 2), one_f_one_b(one_each(3), 2));
  EXPECT_THROW(interleaved({0, 0, 1, 1}, 2), ScheduleError);
  EXPECT_THROW(interleaved({0, 1, 0}, 2), ScheduleError);
  EXPECT_THROW(interleaved({0, 1, 0, 1}, 3), ScheduleError);
}

TEST(Schedules, ZeroBubble) {
  EXPECT_EQ(to_text(zb_h1(one_each(2), 3)),
            "| F0.0 F0.1 B0.0 W0.0 B0.1 F0.2 W0.1 B0.2 W0.2 U0 * 3 |\n"
            "| F1.0 B1.0 F1.1 B1.1 W1.0 W1.1 F1.2 B1.2 W1.2 U1 * 3 |\n");
  EXPECT_EQ(to_text(zb_h2({0, 0, 1}, 2)),
            "| F0.0 F1.0 F0.1 F1.1 B1.0 B0.0 W1.0 W0.0 B1.1 B0.1 W1.1 W0.1 U0 U1 * 2 |\n"
            "| F2.0 B2.0 F2.1 B2.1 W2.0 W2.1 U2 * 2 |\n");
}

TEST(Schedules, ZeroBubbleOnAV) {
  EXPECT_EQ(to_text(zb_v(v_shape(2), 2)),
            "| F0.0 F0.1 F3.0 B3.0 F3.1 B3.1 B0.0 W3.0 B0.1 W3.1 W0.0 W0.1 U0 U3 * 2 |\n"
            "| F1.0 F2.0 F1.1 F2.1 B2.0 B1.0 B2.1 B1.1 W2.0 W1.0 W2.1 W1.1 U1 U2 * 2 |\n");
  EXPECT_EQ(to_text(v_half({0, 1, 1, 1, 0, 0}, 1)),
            "| F0.0 F4.0 F5.0 B5.0 B4.0 W5.0 W4.0 B0.0 W0.0 U0 U4 U5 * 1 |\n"
            "| F1.0 F2.0 F3.0 B3.0 B2.0 B1.0 W3.0 W2.0 W1.0 U1 U2 U3 * 1 |\n");
  EXPECT_EQ(to_text(v_min(all_on_one(2), 2)),
            "| F0.0 F1.0 B1.0 B0.0 F0.1 W1.0 W0.0 F1.1 B1.1 B0.1 W1.1 W0.1 U0 U1 * 2 |\n");
  for (const Placement& p : {Placement{0}, Placement{0, 1}, Placement{0, 1, 0}, Placement{0, 1, 1, 0, 0, 1},
                             Placement{0, 1, 0, 1}, Placement{1, 0, 0, 1}, Placement{0, 1, 1, 2, 2, 0}, Placement{}})
    for (const auto make : {zb_v, v_half, v_min}) EXPECT_THROW(make(p, 2), ScheduleError) << p.size();
}

/// One step where a forward and each half of a backward take 1 for a whole worker; a micro-batch's activations are 1000
/// bytes of a whole worker's stages, and half of them wait for the weight half.
Timeline played(const Plan& compute, int stages) {
  const Wiring w = wiring(stages, true);
  const double share = double(compute.size()) / stages;
  const auto kept = int64_t(1000 * share);
  const CostModel costs{.forward = {share},
                        .backward_input = {share},
                        .backward_weight = {share},
                        .update = {},
                        .bytes = {{.activations = kept, .deferred = kept / 2}}};
  return simulate(add_transfers(compute, w), w, costs, compute[0].mbs_per_period);
}
std::vector<double> peaks(const Timeline& t) {
  std::vector<double> in_mbs;
  for (const WorkerBytes& b : t.bytes) in_mbs.push_back(double(b.peak()) / 1000);
  return in_mbs;
}
Placement round_robin(int stages, int workers) {
  Placement p;
  for (int s = 0; s < stages; ++s) p.push_back(s % workers);
  return p;
}

// Makespans of the published simulators at equal times: 4 workers and 8 or 16 micro-batches, 8 and 16 or 32.
TEST(Schedules, TakeTheTimesAndTheMemoryOfTheLiterature) {
  constexpr int kWorkers[] = {4, 4, 8, 8}, kMbs[] = {8, 16, 16, 32};
  constexpr double kFlush[] = {33, 57, 69, 117}, kTwo[] = {28.5, 52.5, 58.5, 106.5},
                   kFour[] = {26.25, 50.25, 53.25, 101.25}, kH1[] = {27, 51, 55, 103}, kH2[] = {24, 48, 48, 96};
  for (size_t i = 0; i < 4; ++i) {
    const int p = kWorkers[i], m = kMbs[i];
    SCOPED_TRACE(testing::Message() << p << " workers, " << m << " micro-batches");
    EXPECT_EQ(played(gpipe(one_each(p), m), p).makespan, kFlush[i]);
    EXPECT_EQ(played(one_f_one_b(one_each(p), m), p).makespan, kFlush[i]);
    EXPECT_EQ(played(interleaved(round_robin(2 * p, p), m), 2 * p).makespan, kTwo[i]);
    EXPECT_EQ(played(interleaved(round_robin(4 * p, p), m), 4 * p).makespan, kFour[i]);
    const Timeline h1 = played(zb_h1(one_each(p), m), p), h2 = played(zb_h2(one_each(p), m), p);
    EXPECT_EQ(h1.longest_stage_time(), kH1[i]);
    EXPECT_EQ(h1.makespan, kH1[i]);
    EXPECT_EQ(h2.longest_stage_time(), kH2[i]);
    EXPECT_EQ(h2.makespan, kH2[i] + p - 1);
    for (int worker = 0; worker < p; ++worker) {
      EXPECT_EQ(h1.bubble(worker), p - 1);  // (p - 1) (T_F + T_B - T_W)
      EXPECT_EQ(h2.bubble(worker), 0);      // (p - 1) (T_F + T_B - 2 T_W)
    }
  }
  using Peaks = std::vector<double>;
  EXPECT_EQ(peaks(played(gpipe(one_each(4), 8), 4)), (Peaks{8, 8, 8, 8}));
  EXPECT_EQ(peaks(played(one_f_one_b(one_each(4), 8), 4)), (Peaks{4, 3, 2, 1}));
  EXPECT_EQ(peaks(played(interleaved(round_robin(8, 4), 8), 8)), (Peaks{5.5, 4.5, 3.5, 2.5}));
  EXPECT_EQ(peaks(played(interleaved(round_robin(16, 4), 8), 16)), (Peaks{4.75, 4.25, 3.75, 3.25}));
  EXPECT_EQ(peaks(played(zb_h1(one_each(4), 8), 4)), (Peaks{4, 3.5, 3, 2.5}));
  EXPECT_EQ(peaks(played(zb_h2(one_each(4), 8), 4)), (Peaks{7, 6, 5, 4}));
}

TEST(Schedules, AsynchronousOneForwardOneBackward) {
  EXPECT_EQ(to_text(async_1f1b(one_each(3), 1)),
            "F0.0 F0.1 | F0.2 D0.0 U0 * 1 | D0.0 U0 D0.1 U0.1\n"
            "F1.0 | F1.1 D1.0 U1 * 1 | D1.0 U1\n"
            "| F2.0 D2.0 U2 * 1 |\n");
  EXPECT_EQ(to_text(async_1f1b(one_each(3), 2)),
            "F0.0 F0.1 | F0.2 D0.0 F0.3 D0.1 U0 * 2 | D0.0 D0.1 U0\n"
            "F1.0 F1.1 D1.0 | F1.2 D1.1 U1 F1.3 D1.2 * 2 | D1.1 U1\n"
            "| F2.0 D2.0 F2.1 D2.1 U2 * 2 |\n");
  EXPECT_EQ(to_text(async_1f1b({0, 0, 1}, 1)),
            "F0.0 F1.0 | F0.1 F1.1 D1.0 D0.0 U0 U1 * 1 | D1.0 D0.0 U0 U1\n"
            "| F2.0 D2.0 U2 * 1 |\n");
}

/// One fill and one drain a run, whatever its length: (p - 1)(T_F + T_BW).
TEST(Schedules, AsynchronousRunsWaitOnceOnly) {
  for (const int p : {2, 4, 8})
    for (const int mbs : {1, 2, 8}) {
      Wiring w = wiring(p, true);
      w.synchronous = false;
      const Plan plan = add_transfers(async_1f1b(one_each(p), mbs), w);
      const int64_t n = 16 * mbs;
      const Timeline t =
          simulate(plan, w, {.forward = {1}, .backward_input = {1}, .backward_weight = {1}, .update = {}}, n);
      EXPECT_DOUBLE_EQ(t.makespan, 3.0 * double(n + p - 1)) << p << " workers, " << mbs << " micro-batches";
      const Report r = validate(plan, w, n);
      for (int s = 0; s < p; ++s) EXPECT_EQ(r.live_peak[size_t(s)], p - s);
    }
}

TEST(Schedules, AVTakesTheTimesAndTheMemoryOfTheLiterature) {
  for (int p = 1; p <= 9; ++p)
    for (const int m : {2 * p - 1, 2 * p, 3 * p + 1}) {
      SCOPED_TRACE(testing::Message() << p << " workers, " << m << " micro-batches");
      const auto run = [&](auto make) { return played(make(v_shape(p), m), 2 * p); };
      const Timeline full = run(zb_v), half = run(v_half), third = run(v_min);
      EXPECT_EQ(full.longest_stage_time(), 3 * m);
      EXPECT_EQ(full.makespan, 3 * m + 0.5 * (p - 1));
      EXPECT_THAT(peaks(full), testing::Each(testing::AllOf(testing::Le(p), testing::Ge(m < 2 * p ? 0 : p))));
      const double flush = 3 * (p - 1);  // the bubble of 1F1B
      EXPECT_EQ(half.longest_stage_time(), 3 * m + flush / 2 - (p % 2 == 1 && p > 1 ? 0.5 : 0));
      EXPECT_THAT(peaks(half), testing::Each(testing::Le((p + 2) / 2)));
      EXPECT_NEAR(third.longest_stage_time(), 3 * m + 2 * flush / 3, 0.5);
      EXPECT_THAT(peaks(third), testing::Each(testing::Le((p + 4) / 3)));
    }
  const Timeline four = played(zb_v(v_shape(4), 8), 8), eight = played(zb_v(v_shape(8), 16), 16);
  EXPECT_EQ((std::vector{four.longest_stage_time(), four.makespan, eight.longest_stage_time(), eight.makespan}),
            (std::vector{24.0, 25.5, 48.0, 51.5}));
  EXPECT_EQ(peaks(four), (std::vector<double>{4, 4, 4, 4}));
}

TEST(Schedules, SeveralStagesOnAWorker) {
  EXPECT_EQ(to_text(one_f_one_b({0, 0, 1}, 2)),
            "| F0.0 F1.0 F0.1 F1.1 D1.0 D0.0 D1.1 D0.1 U0 U1 * 2 |\n"
            "| F2.0 D2.0 F2.1 D2.1 U2 * 2 |\n");
}

TEST(Schedules, Associated) {
  EXPECT_EQ(to_text(associated(all_on_one(3), 1)), "| F0.0 D0.0 U0 F1.0 D1.0 U1 F2.0 D2.0 U2 * 1 |\n");
}

TEST(Schedules, AssociatedStreaming) {
  const Wiring w = wiring(3, false);
  EXPECT_EQ(to_text(add_transfers(associated_streaming(one_each(3), 1), w)),
            "| F0.0 s0.0>1 D0.0 U0 * 1 |\n"
            "| r1.0<0 F1.0 s1.0>2 D1.0 U1 * 1 |\n"
            "| r2.0<1 F2.0 D2.0 U2 * 1 |\n");
}

TEST(Schedules, AssociatedStreamingRoundRobin) {
  EXPECT_EQ(to_text(associated_streaming({0, 1, 0, 1}, 1)),
            "F0.0 D0.0 U0 F0.1 D0.1 U0.1 | F2.0 D2.0 U2 F0.2 D0.2 U0.2 * 1 | F2.0 D2.0 U2 F2.1 D2.1 U2.1\n"
            "F1.0 D1.0 U1 F1.1 D1.1 U1.1 | F3.0 D3.0 U3 F1.2 D1.2 U1.2 * 1 | F3.0 D3.0 U3 F3.1 D3.1 U3.1\n");
}

TEST(Schedules, AssociatedInTheModesOfTheOriginal) {
  EXPECT_EQ(to_text(associated_m({0, 1, 0}, 2)),
            "| F0.0 F2.0 F0.1 F2.1 a0.0 w0.0 D0.0 D0.1 U0 D2.0 D2.1 U2 a0.0v1 w0.0v1 * 2 |\n"
            "| F1.0 F1.1 a1.0 w1.0 D1.0 D1.1 U1 a1.0v1 w1.0v1 * 2 |\n");
  EXPECT_EQ(to_text(associated_p(one_each(2), 1)),
            "| F0.0 D0.0 U0 a0.0 w0.0 * 1 |\n"
            "| F1.0 D1.0 U1 a1.0 w1.0 * 1 |\n");
}

TEST(Schedules, TransfersGoBothWaysWhereTheErrorCrosses) {
  const Wiring w = wiring(3, true);
  EXPECT_EQ(to_text(add_transfers(naive_split(one_each(3), 1), w)),
            "| F0.0 s0.0>1 r0.0<1 D0.0 U0 * 1 |\n"
            "| r1.0<0 F1.0 s1.0>2 r1.0<2 D1.0 s1.0>0 U1 * 1 |\n"
            "| r2.0<1 F2.0 D2.0 s2.0>1 U2 * 1 |\n");
}

TEST(Schedules, APortReadTwoStagesOnIsRouted) {
  const Port x{"x", DType::kF32, true}, labels{"labels", DType::kI32, false};
  Wiring w;
  w.stages = 3;
  w.edges = route({{{}, {x, labels}}, {{x}, {x}}, {{x, labels}, {}}});
  ASSERT_EQ(w.edges.size(), 3u);
  EXPECT_EQ(w.edges[1], (Edge{0, 2, {{1, 1, false}}}));
  EXPECT_EQ(w.edges[2], (Edge{1, 2, {{0, 0, true}}}));
  EXPECT_EQ(to_text(add_transfers(naive_split(one_each(3), 1), w)),
            "| F0.0 s0.0>1 s0.0>2 r0.0<1 D0.0 U0 * 1 |\n"
            "| r1.0<0 F1.0 s1.0>2 r1.0<2 D1.0 s1.0>0 U1 * 1 |\n"
            "| r2.0<0 r2.0<1 F2.0 D2.0 s2.0>1 U2 * 1 |\n");
}

TEST(Schedules, RoutingRefusesAnInputThatNobodyGives) {
  const Port x{"x", DType::kF32, true}, y{"y", DType::kF32, true}, ints{"x", DType::kI32, false};
  EXPECT_THROW(route({{{}, {x}}, {{y}, {}}}), ScheduleError);
  EXPECT_THROW(route({{{}, {x}}, {{ints}, {}}}), ScheduleError);
}

TEST(Schedules, GeneratorsRefuseWhatTheyCannotServe) {
  EXPECT_THROW(gpipe({0, 1, 0}, 2), ScheduleError);
  EXPECT_THROW(gpipe({1, 0}, 2), ScheduleError);
  EXPECT_THROW(gpipe({0, 2}, 2), ScheduleError);
  EXPECT_THROW(gpipe({}, 2), ScheduleError);
  EXPECT_THROW(one_f_one_b(one_each(2), 0), ScheduleError);
  EXPECT_THROW(one_device(one_each(2), 1), ScheduleError);
  EXPECT_THROW(associated(one_each(2), 1), ScheduleError);
  EXPECT_THROW(find_schedule("1f1b"), ConfigError);
  EXPECT_EQ(find_schedule("gpipe").make, gpipe);
}

TEST(Schedules, ARunOfNoWholeStepsIsRefused) {
  const Plan plan = associated_streaming({0, 1, 0, 1}, 2);
  EXPECT_EQ(unroll(plan[0], 2).size(), 2 * (2 * 2 + 1));  // two stages: two micro-batches there and back, an update
  for (const int64_t mbs : {-2, 1, 3, 7}) EXPECT_THROW(unroll(plan[0], mbs), ScheduleError) << mbs;
}

TEST(Schedules, EverySoundScheduleIsFound) {
  for (const PlanSchedule& s : schedules()) {
    if (s.spread != nullptr) continue;  // Instances.EveryWidthIsSound
    for (int stages = 1; stages <= 4; ++stages)
      for (int mbs = 1; mbs <= 5; ++mbs) {
        SCOPED_TRACE(testing::Message() << s.name << " " << stages << " stages, " << mbs << " micro-batches");
        const std::string name = s.name;
        const bool alone = name == "one_device" || name == "associated";
        const bool v = name == "zb_v" || name == "v_half" || name == "v_min";
        const Placement placement = v ? v_shape(stages) : alone ? all_on_one(stages) : one_each(stages);
        Wiring w = wiring(int(placement.size()), s.error_crosses);
        w.synchronous = s.synchronous;
        EXPECT_NO_THROW(validate(add_transfers(s.make(placement, mbs), w), w));
      }
  }
}

// ---- pictures: forward costs 1, backward 2, no transfers ----

TEST(Pictures, NaiveSplit) {
  const Wiring w = wiring(2, true);
  const Timeline t = simulate(add_transfers(naive_split(one_each(2), 1), w), w, {{1}, {1}, {1}, {}}, 2);
  EXPECT_EQ(picture(t),
            "F0.0 .    .    .    D0.0 D0.0 F0.1 .    .    .    D0.1 D0.1\n"
            ".    F1.0 D1.0 D1.0 .    .    .    F1.1 D1.1 D1.1 .    .\n");
  EXPECT_DOUBLE_EQ(t.makespan, 12);
  EXPECT_DOUBLE_EQ(t.idle_share(), 0.5);
}

TEST(Pictures, GPipe) {
  const Wiring w = wiring(2, true);
  EXPECT_EQ(picture(simulate(add_transfers(gpipe(one_each(2), 3), w), w, {{1}, {1}, {}, {}}, 3)),
            "F0.0 F0.1 F0.2 .    .    D0.0 D0.1 D0.2\n"
            ".    F1.0 F1.1 F1.2 D1.0 D1.1 D1.2 .\n");
}

TEST(Pictures, OneForwardOneBackward) {
  const Wiring w = wiring(3, true);
  EXPECT_EQ(picture(simulate(add_transfers(one_f_one_b(one_each(3), 4), w), w, {{1}, {1}, {}, {}}, 4)),
            "F0.0 F0.1 F0.2 .    .    D0.0 F0.3 D0.1 .    D0.2 .    D0.3\n"
            ".    F1.0 F1.1 .    D1.0 F1.2 D1.1 F1.3 D1.2 .    D1.3 .\n"
            ".    .    F2.0 D2.0 F2.1 D2.1 F2.2 D2.2 F2.3 D2.3 .    .\n");
}

TEST(Pictures, AssociatedStreaming) {
  const Wiring w = wiring(2, false);
  EXPECT_EQ(picture(simulate(add_transfers(associated_streaming(one_each(2), 1), w), w, {{1}, {1}, {}, {}}, 3)),
            "F0.0 D0.0 F0.1 D0.1 F0.2 D0.2 .\n"
            ".    F1.0 D1.0 F1.1 D1.1 F1.2 D1.2\n");
}

TEST(Pictures, AssociatedInTheModesOfTheOriginal) {
  const Wiring w = wiring(3, false);
  EXPECT_EQ(picture(simulate(add_transfers(associated_m(one_each(3), 1), w), w, {{1}, {1}, {}, {}}, 2)),
            "F0.0 .    .    D0.0 F0.1 .    .    D0.1\n"
            ".    F1.0 .    D1.0 .    F1.1 .    D1.1\n"
            ".    .    F2.0 D2.0 .    .    F2.1 D2.1\n");
  EXPECT_EQ(picture(simulate(add_transfers(associated_p(one_each(3), 1), w), w, {{1}, {1}, {}, {}}, 2)),
            "F0.0 D0.0 .    .    F0.1 D0.1 .    .\n"
            ".    F1.0 D1.0 .    .    F1.1 D1.1 .\n"
            ".    .    F2.0 D2.0 .    .    F2.1 D2.1\n");
}

TEST(Pictures, RoundRobinKeepsBothWorkersBusy) {
  const Wiring w = wiring(4, false);
  const Timeline t = simulate(add_transfers(associated_streaming({0, 1, 0, 1}, 1), w), w, {{1}, {1}, {}, {}}, 50);
  EXPECT_NEAR(t.makespan, 50 * 4 + 2, 1.0);  // two stages a worker, two units each, one fill
}

TEST(Pictures, ASlowConsumerHoldsItsProducerBack) {
  const Wiring w = wiring(2, false);
  // With two slots the producer gets two steps ahead, then follows the consumer's pace.
  const Timeline t = simulate(add_transfers(associated_streaming(one_each(2), 1), w), w, {{1, 2}, {0, 2}, {}, {}}, 5);
  EXPECT_EQ(
      picture(t),
      "F0.0 F0.1 F0.2 .    .    F0.3 .    .    .    F0.4 .    .    .    .    .    .    .    .    .    .    .\n"
      ".    F1.0 F1.0 D1.0 D1.0 F1.1 F1.1 D1.1 D1.1 F1.2 F1.2 D1.2 D1.2 F1.3 F1.3 D1.3 D1.3 F1.4 F1.4 D1.4 D1.4\n");
}

TEST(Pictures, TransfersTakeTime) {
  const Wiring w = wiring(2, false);
  const CostModel costs{{1}, {1}, {}, {1}, {.latency = 2}};
  EXPECT_EQ(picture(simulate(add_transfers(associated_streaming(one_each(2), 1), w), w, costs, 1)),
            "F0.0 D0.0 U0   .    .    .\n"
            ".    .    .    F1.0 D1.0 U1\n");
}

}  // namespace
}  // namespace sluice::schedules_test
