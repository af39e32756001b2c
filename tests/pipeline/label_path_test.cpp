// The label path by itself, as the specification's data-free replay: two stacked label autoencoders see random labels.
// The original's (mean squared error on sigmoids) keep the codes of all classes alike; ours tell them apart at once.
#include <cmath>

#include "layers/dense.h"
#include "layers/pointwise.h"
#include "models/image_stages.h"
#include "optim/adam.h"
#include "pipeline/code_health.h"
#include "tests/pipeline/net.h"
#include "tests/support/support.h"

namespace sluice::test::label_path_test {
namespace {

constexpr int64_t kBatch = 128, kClasses = 200, kStepsPerEpoch = 782;

struct Replay {
  std::vector<CodeHealth> health;
  double first_loss = 0;  // of the first stage's autoencoder, mean over all steps
};

Replay replay(const ImageCodes& codes, float lr, int64_t steps) {
  const ImageSlice slice{[](const Init&) { return std::make_unique<Activate>(Act::kNone); }, {1, 1, 1}};
  std::vector<StageNet> nets = associated_stages({slice, slice}, codes);
  std::vector<StagePtr> stages;
  for (size_t i = 0; i < nets.size(); ++i)
    stages.push_back(std::make_unique<Stage>(std::move(nets[i]), Stream(Device{DeviceKind::kCpu, int(i)}), /*seed=*/1,
                                             std::make_unique<Adam>(), [lr](int64_t) {
                                               return std::vector<GroupSettings>{{.lr = 1e-4f}, {.lr = lr}};
                                             }));
  Pipeline pipeline = make_pipeline(std::move(stages), find_rule("associated"), associated_streaming({0, 1}, 1));
  RunOptions o;
  o.steps = steps;
  o.feed = [](const FeedRequest& r) {
    return Parcel{{random(r.stream, {kBatch, 1, 1, 1}, 1),
                   random_ints(r.stream, {kBatch}, uint64_t(r.mb), 0, int32_t(kClasses))}};
  };
  Replay result;
  o.on_losses = [&](const StepLosses& l) {
    if (l.stage == 0) result.first_loss += double(l.values[0]) / double(steps);
  };
  execute(pipeline, o);
  result.health = code_health(pipeline.stages, kClasses);
  return result;
}

TEST(LabelPath, TheOriginalsCodesStayAlikeAsInTheReplay) {
  const Replay r = replay({.classes = kClasses, .hidden = 8, .faithful = true}, 1e-4f, kStepsPerEpoch);
  EXPECT_NEAR(r.first_loss, 0.0155, 0.002);  // the replay's first epoch: .015464
  EXPECT_LT(r.health[0].decoded, 0.05);      // .010
  EXPECT_NEAR(r.health[0].spread, 0.010, 0.003);
  EXPECT_LT(r.health[1].decoded, 0.02);  // .005: one of 200
  EXPECT_LT(r.health[1].spread, 0.003);  // .001
}

/// The original needs 16 epochs for as much.
TEST(LabelPath, OurDefaultsTellTheClassesApartWithinHalfAnEpoch) {
  const Replay r = replay({.classes = kClasses, .hidden = 8}, 1e-2f, kStepsPerEpoch / 2);
  for (const CodeHealth& h : r.health) {
    EXPECT_GT(h.decoded, 0.95);
    EXPECT_GT(h.spread, 0.06);
  }
}

}  // namespace
}  // namespace sluice::test::label_path_test
