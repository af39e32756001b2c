// A network with convolutions, VGG, trains to the same weights under every schedule that promises it, bit for bit.
#include "models/vgg.h"
#include "pipeline/executor.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::convolution_test {
namespace {

constexpr int64_t kSamples = 3;
const VggConfig kSmall{.in_channels = 1, .image = 16, .width = 1.0 / 16};

Feed image_feed() {
  return [](const FeedRequest& r) {
    Parcel parcel;
    for (const Port& port : r.ports)
      if (port.name == "images")
        parcel.values.push_back(random(r.stream, {kSamples, kSmall.image, kSmall.image, 1}, uint64_t(r.mb)));
      else
        parcel.values.push_back(random_ints(r.stream, {kSamples}, uint64_t(r.mb), 0, int32_t(kSmall.classes)));
    return parcel;
  };
}

/// Few steps on a GPU, which may be an emulated one: there a convolution is a loop in double precision.
std::vector<std::vector<float>> trained_weights(Trained t) {
  RunOptions o = run_options(t.streams[0].is_cpu() ? 20 : 2, kSamples);
  o.feed = image_feed();
  execute(t.pipeline, o);
  return t.weights();
}

class Convolutions : public OnEachPlace {};
INSTANTIATE_TEST_SUITE_P(Places, Convolutions, testing::ValuesIn(test_places()), place_label);

TEST_P(Convolutions, SynchronousSchedulesGiveTheWeightsOfOneDevice) {
  const auto run = [](const char* schedule, const Placement& placement) {
    return trained_weights(make_trained(vgg_backprop(kSmall),
                                        {.schedule = schedule, .placement = placement, .mbs = 2, .where = GetParam()}));
  };
  const auto expected = run("one_device", all_on_one(5));
  for (const char* schedule : {"naive_split", "gpipe", "one_f_one_b", "zb_h1"})
    for (const Placement& placement : {Placement{0, 1, 1, 1, 1}, Placement{0, 1, 2, 2, 3}}) {
      SCOPED_TRACE(testing::Message() << schedule << " on " << count_workers(placement) << " workers");
      EXPECT_EQ(run(schedule, placement), expected);
    }
  EXPECT_EQ(run("zb_v", {0, 1, 1, 0, 0}), expected);
}

TEST_P(Convolutions, StreamedAssociatedLearningGivesTheWeightsOfSequential) {
  const auto run = [](const char* schedule, const Placement& placement) {
    return trained_weights(
        make_trained(vgg_associated(kSmall),
                     {.rule = "associated", .schedule = schedule, .placement = placement, .where = GetParam()}));
  };
  const auto expected = run("associated", all_on_one(4));
  for (const Placement& placement : {Placement{0, 1, 1, 0}, Placement{0, 1, 0, 1}, Placement{0, 1, 2, 3}}) {
    SCOPED_TRACE(testing::Message() << "stage 3 on worker " << placement[3]);
    EXPECT_EQ(run("associated_streaming", placement), expected);
  }
}

}  // namespace
}  // namespace sluice::test::convolution_test
