// validate() finds each kind of planted fault, and says where.
#include "pipeline/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/partition.h"
#include "pipeline/schedules.h"
#include "pipeline/transfers.h"

namespace sluice::validate_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Wiring wiring(int stages, bool error_crosses = true) {
  Wiring w;
  w.stages = stages;
  w.edges = chain(stages);
  w.error_crosses = error_crosses;
  return w;
}

/// The line that validate() throws; "sound" when it does not.
std::string fault(const std::string& plan, const Wiring& w, int64_t mbs = 0) {
  try {
    validate(parse(plan), w, mbs);
  } catch (const ScheduleError& e) {
    return e.what();
  }
  return "sound";
}

const char* const kSound =
    "| F0.0 s0.0>1 r0.0<1 D0.0 U0 * 1 |\n"
    "| r1.0<0 F1.0 D1.0 s1.0>0 U1 * 1 |\n";

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

TEST(Validate, TheUnchangedPlanIsSound) { EXPECT_EQ(fault(kSound, wiring(2)), "sound"); }

TEST(Validate, AMissingActionIsNamed) {
  EXPECT_THAT(fault(replaced(kSound, " D0.0", ""), wiring(2)),
              AllOf(HasSubstr("worker 0"), HasSubstr("D0.0: missing")));
  EXPECT_THAT(fault(replaced(kSound, " U1", ""), wiring(2)), AllOf(HasSubstr("worker 1"), HasSubstr("U1: missing")));
  EXPECT_THAT(fault(replaced(kSound, " s0.0>1", ""), wiring(2)), HasSubstr("s0.0>1: missing"));
  EXPECT_THAT(fault(replaced(kSound, "r1.0<0 ", ""), wiring(2)), HasSubstr("r1.0<0: missing"));
  EXPECT_THAT(fault(replaced(kSound, " s1.0>0", ""), wiring(2)), HasSubstr("s1.0>0: missing"));
}

TEST(Validate, ADoubledActionIsNamed) {
  EXPECT_THAT(fault(replaced(kSound, "F0.0", "F0.0 F0.0"), wiring(2), 1),
              HasSubstr("worker 0, position 1, F0.0: doubled, first at position 0"));
  EXPECT_THAT(fault(replaced(kSound, "U1", "U1 U1"), wiring(2), 1), HasSubstr("worker 1, position 5, U1: doubled"));
}

TEST(Validate, AStageOnTwoWorkersIsNamed) {
  EXPECT_THAT(fault(replaced(kSound, "U1", "U1 F0.1"), wiring(2)), HasSubstr("F0.1: stage 0 belongs to worker 0"));
}

TEST(Validate, AnUnexpectedActionIsNamed) {
  EXPECT_THAT(fault(replaced(kSound, "U1", "U1 s1.0>3"), wiring(2), 1), HasSubstr("s1.0>3: not expected"));
  EXPECT_THAT(fault(replaced(kSound, "U1", "U1 F1.7"), wiring(2), 1), HasSubstr("worker 1"));
  EXPECT_THAT(fault("| F0.0 D0.0 F0.1 D0.1 U0 U0.1 * 2 |\n", wiring(1), 2), HasSubstr("U0.1: not expected"));
}

TEST(Validate, AnActionBeforeWhatItNeedsIsNamed) {
  EXPECT_THAT(fault("| D0.0 F0.0 U0 * 1 |\n", wiring(1), 1),
              HasSubstr("worker 0, position 0, D0.0: can never run: its forward has not run"));
  EXPECT_THAT(fault("| F0.0 U0 D0.0 * 1 |\n", wiring(1), 1),
              HasSubstr("U0: can never run: its step has 0 gradients of 1"));
  EXPECT_THAT(fault("| F0.0 W0.0 B0.0 U0 * 1 |\n", wiring(1), 1), HasSubstr("W0.0: can never run: its input half"));
  EXPECT_THAT(fault("| s0.0>1 F0.0 r0.0<1 D0.0 U0 * 1 |\n| r1.0<0 F1.0 D1.0 s1.0>0 U1 * 1 |\n", wiring(2), 1),
              HasSubstr("its parcel is not made yet"));
}

TEST(Validate, ADeadlockIsNamedWithAllThatStand) {
  // Stage 0 wants the gradient before it sends what stage 1 needs for it.
  const std::string why = fault(replaced(kSound, "s0.0>1 r0.0<1", "r0.0<1 s0.0>1"), wiring(2), 1);
  EXPECT_THAT(why, HasSubstr("worker 0, position 1, r0.0<1: can never run: stage 1 has not sent it"));
  EXPECT_THAT(why, HasSubstr("worker 1 stands at position 0, r1.0<0"));
}

TEST(Validate, ReceivesInAnotherOrderThanTheSendsAreNamed) {
  const char* plan =
      "| F0.0 s0.0>1 F0.1 s0.1>1 D0.0 D0.1 U0 * 2 |\n"
      "| r1.1<0 r1.0<0 F1.0 F1.1 D1.0 D1.1 U1 * 2 |\n";
  EXPECT_THAT(fault(plan, wiring(2, false), 2), HasSubstr("worker 1, position 0, r1.1<0: out of order"));
}

TEST(Validate, GradientsAreAddedInAscendingOrder) {
  EXPECT_THAT(fault("| F0.0 F0.1 D0.1 D0.0 U0 * 2 |\n", wiring(1), 2), HasSubstr("D0.1: gradients are added in asc"));
}

TEST(Validate, WorkersAgreeOnTheMicroBatchesOfAStep) {
  EXPECT_THAT(fault("| F0.0 D0.0 U0 * 1 |\n| F1.0 F1.1 D1.0 D1.1 U1 * 2 |\n", wiring(2, false)),
              HasSubstr("worker 1: 2 micro-batches per period"));
  EXPECT_THAT(fault("| F0.0 F0.1 D0.0 D0.1 U0 * 2 |\n", wiring(1), 3), HasSubstr("cannot run 3 micro-batches"));
  EXPECT_THAT(fault(kSound, wiring(3)), HasSubstr("2 stages, the wiring has 3"));
}

TEST(Validate, AChannelTooShallowForItsScheduleIsADeadlock) {
  Wiring w = wiring(2);
  const Plan plan = add_transfers(gpipe(one_each(2), 4), w);
  EXPECT_EQ(validate(plan, w).channels, (std::vector<ChannelUse>{{0, 1, 5}, {1, 0, 2}}));
  w.depth = 4;  // all four inputs of a step are held until their backward
  EXPECT_NO_THROW(validate(plan, w));
  w.depth = 3;
  EXPECT_THAT(fault(to_text(plan), w), HasSubstr("s0.3>1: all 3 slots of the channel 0>1 are taken"));
}

/// Asynchronous 1F1B of the first of two stages: an update lies between forward and backward.
const char* const kStale = "F0.0 | F0.1 D0.0 U0 * 1 | D0.0 U0\n";

TEST(Validate, ASynchronousRuleTakesNoUpdateInBetween) {
  EXPECT_THAT(fault(kStale, wiring(1)), HasSubstr("D0.1: 1 updates since its forward, a synchronous rule allows none"));
  Wiring w = wiring(1);
  w.synchronous = false;
  const Report newest = validate(parse(kStale), w);
  EXPECT_EQ(newest.staleness, 1);
  EXPECT_EQ(newest.versions_held, std::vector<int>{1});
  EXPECT_EQ(newest.forecasts_held, std::vector<Foretold>{{}});
  w.backward = forward_weights;
  EXPECT_EQ(validate(parse(kStale), w).versions_held, std::vector<int>{2});
  w.forward = [](const PassAt& at) { return WeightRead{.version = at.updates, .ahead = 1}; };
  w.backward = newest_weights;
  EXPECT_EQ(validate(parse(kStale), w).versions_held, std::vector<int>{1});
  EXPECT_EQ(validate(parse(kStale), w).forecasts_held, (std::vector<Foretold>{{.forward = 1}}));
}

TEST(Validate, WeightsThatAreNotMadeYetCannotBeRead) {
  Wiring w = wiring(1);
  w.synchronous = false;
  w.forward = [](const PassAt& at) { return WeightRead{.version = at.mb}; };
  EXPECT_THAT(fault(kStale, w), HasSubstr("F0.1: it reads weights of 1 updates, the stage has made 0"));
  w.forward = [](const PassAt&) { return WeightRead{.version = -1}; };
  EXPECT_THAT(fault(kStale, w), HasSubstr("F0.0: it reads weights of -1 updates"));
}

TEST(Validate, TheReportSaysWhichVersionIsRead) {
  Wiring w = wiring(1);
  w.synchronous = false;
  const auto versions = [&] {
    std::string text;
    for (const Placed& p : validate(parse(kStale), w, 3).order)
      if (p.action.what != Do::kUpdate) text += to_text(p.action) + "@" + std::to_string(p.read.version) + " ";
    return text;
  };
  EXPECT_EQ(versions(), "F0.0@0 F0.1@0 D0.0@0 F0.2@1 D0.1@1 D0.2@2 ");
  w.backward = forward_weights;
  EXPECT_EQ(versions(), "F0.0@0 F0.1@0 D0.0@0 F0.2@1 D0.1@0 D0.2@1 ");
}

TEST(Validate, TheReportCountsLiveMicroBatches) {
  const Wiring w = wiring(4);
  EXPECT_EQ(validate(add_transfers(one_f_one_b(one_each(4), 8), w), w).live_peak, (std::vector<int>{4, 3, 2, 1}));
  EXPECT_EQ(validate(add_transfers(gpipe(one_each(4), 8), w), w).live_peak, (std::vector<int>{8, 8, 8, 8}));
  EXPECT_EQ(validate(add_transfers(naive_split(one_each(4), 8), w), w).live_peak, (std::vector<int>{1, 1, 1, 1}));
}

TEST(Validate, ASplitBackwardIsSound) {
  const Wiring w = wiring(2);
  EXPECT_EQ(fault("| F0.0 s0.0>1 r0.0<1 B0.0 W0.0 U0 * 1 |\n| r1.0<0 F1.0 B1.0 s1.0>0 W1.0 U1 * 1 |\n", w), "sound");
}

TEST(Validate, TheOrderRunsEverythingAfterItsNeeds) {
  const Wiring w = wiring(3);
  const Plan plan = add_transfers(one_f_one_b(one_each(3), 4), w);
  const Report r = validate(plan, w, 8);
  size_t actions = 0;
  for (const Program& p : plan) actions += unroll(p, 8).size();
  EXPECT_EQ(r.order.size(), actions);
  for (size_t i = 0; i < r.order.size(); ++i)
    for (int64_t before : r.order[i].after) EXPECT_LT(before, int64_t(i));
}

TEST(Text, RoundTrips) {
  for (const char* text : {kSound, "F0.0 | F0.1v1 s0.12>3 r0.4<2 D0.0 U0.3 * 12 | D0.0 U0\n", "|  * 1 |\n"})
    EXPECT_EQ(to_text(parse(text)), text);
  EXPECT_EQ(parse(kSound)[0].period[1], act(Do::kSend, 0, 0, 1));
}

TEST(Text, BadWordsAreNamed) {
  for (const char* word : {"X0.0", "F0", "F.1", "s0.1", "r0.1>2", "F0.0x", "F0.0v", "F", "U", "F99999.0"}) {
    SCOPED_TRACE(word);
    EXPECT_THROW(parse(std::string("| ") + word + " * 1 |"), ScheduleError);
  }
  EXPECT_THROW(parse("F0.0 D0.0 U0"), ScheduleError);
  EXPECT_THROW(parse("| F0.0 * 0 |"), ScheduleError);
  EXPECT_THROW(act(Do::kForward, 40000), ScheduleError);
}

TEST(Partition, ContiguousMinimisesTheLargestLoad) {
  const Partition p = partition({1, 2, 3, 4, 5}, 2, true);
  EXPECT_EQ(p.placement, (Placement{0, 0, 0, 1, 1}));
  EXPECT_DOUBLE_EQ(p.largest_load, 9);
  EXPECT_EQ(partition({9, 1, 1}, 3, true).placement, (Placement{0, 1, 2}));
}

TEST(Partition, AnyPlacementCanBeBetter) {
  const Partition p = partition({4, 5, 1, 4}, 2, false);
  EXPECT_DOUBLE_EQ(p.largest_load, 8);
  EXPECT_EQ(p.placement, (Placement{0, 1, 1, 0}));
  EXPECT_DOUBLE_EQ(partition({4, 5, 1, 4}, 2, true).largest_load, 9);
  EXPECT_EQ(partition({0, 0, 0}, 3, false).placement, (Placement{0, 1, 2}));
}

TEST(Partition, ManyStagesAreSpreadLongestFirst) {
  std::vector<double> costs(40, 1.0);
  costs[7] = 10;
  const Partition p = partition(costs, 4, false);
  EXPECT_DOUBLE_EQ(p.largest_load, 13);
  EXPECT_EQ(count_workers(p.placement), 4);
}

TEST(Partition, RefusesTooFewStages) {
  EXPECT_THROW(partition({1}, 2, true), ScheduleError);
  EXPECT_THROW(partition({1, -1}, 2, false), ScheduleError);
}

}  // namespace
}  // namespace sluice::validate_test
