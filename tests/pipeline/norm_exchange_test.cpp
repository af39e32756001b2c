// Gradients of stages on several devices are clipped as those of one device, bit for bit.
#include "pipeline/norm_exchange.h"

#include <gmock/gmock.h>

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
