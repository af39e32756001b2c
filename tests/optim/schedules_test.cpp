// Learning-rate schedules at their ends, in the middle and beyond.
#include "optim/schedules.h"

#include <gtest/gtest.h>

#include "kernels/common/error.h"

namespace sluice::schedules_test {
namespace {

TEST(Schedules, ConstantStays) {
  const Schedule rate = constant_rate(0.3f);
  EXPECT_EQ(rate(0), 0.3f);
  EXPECT_EQ(rate(1000), 0.3f);
}

TEST(Schedules, CosineFallsFromBaseToEnd) {
  const Schedule rate = cosine_rate(1.0f, 0.2f, 8);
  EXPECT_FLOAT_EQ(rate(0), 1.0f);
  EXPECT_FLOAT_EQ(rate(2), 0.2f + 0.8f * 0.85355339f);  // (1 + cos 45 degrees) / 2
  EXPECT_FLOAT_EQ(rate(4), 0.6f);
  EXPECT_FLOAT_EQ(rate(8), 0.2f);
  EXPECT_FLOAT_EQ(rate(9), 0.2f);
  for (int64_t e = 0; e < 8; ++e) EXPECT_GT(rate(e), rate(e + 1));
}

TEST(Schedules, StepDecayFallsEveryFewEpochs) {
  const Schedule rate = step_decay(0.8f, 0.5f, 3);
  EXPECT_FLOAT_EQ(rate(0), 0.8f);
  EXPECT_FLOAT_EQ(rate(2), 0.8f);
  EXPECT_FLOAT_EQ(rate(3), 0.4f);
  EXPECT_FLOAT_EQ(rate(11), 0.1f);
}

TEST(Schedules, MultistepFallsAtItsMilestones) {
  const Schedule rate = multistep_decay(0.8f, 0.1f, {3, 5});
  EXPECT_FLOAT_EQ(rate(0), 0.8f);
  EXPECT_FLOAT_EQ(rate(2), 0.8f);
  EXPECT_FLOAT_EQ(rate(3), 0.08f);
  EXPECT_FLOAT_EQ(rate(4), 0.08f);
  EXPECT_FLOAT_EQ(rate(5), 0.008f);
  EXPECT_FLOAT_EQ(rate(100), 0.008f);
  EXPECT_FLOAT_EQ(multistep_decay(0.8f, 0.1f, {0, 0})(0), 0.008f);  // both at once
}

/// 20 epochs, counted from 1: 1 to 6 use lr (j - 1) / 5, 7 the whole rate, 8 the cosine at 1 of 20, 20 at 13 of 20.
TEST(Schedules, WarmUpStartsFromZeroAndDelaysWhatFollows) {
  const Schedule cosine = cosine_rate(1.0f, 0.1f, 20), rate = warmed_up(cosine, 5);
  for (int64_t j = 1; j <= 6; ++j) EXPECT_FLOAT_EQ(rate(j - 1), float(j - 1) / 5) << j;
  EXPECT_FLOAT_EQ(rate(7 - 1), 1.0f);
  EXPECT_FLOAT_EQ(rate(8 - 1), cosine(1));
  EXPECT_FLOAT_EQ(rate(20 - 1), cosine(13));
  EXPECT_GT(rate(20 - 1), 0.2f);  // the end is not reached
  EXPECT_EQ(warmed_up(cosine, 0)(3), cosine(3));
}

TEST(Schedules, NoamRisesThenFallsByTheRoot) {
  const Schedule rate = noam_rate(512, 4000);
  EXPECT_FLOAT_EQ(rate(0), 1.7469281e-7f);     // 512^-1/2 4000^-3/2
  EXPECT_FLOAT_EQ(rate(3999), 6.9877124e-4f);  // 512^-1/2 4000^-1/2, the most
  EXPECT_FLOAT_EQ(rate(15999), 3.4938562e-4f);
  EXPECT_GT(rate(3999), rate(3998));
  EXPECT_GT(rate(3999), rate(4000));
}

TEST(Schedules, RefuseEmptySpans) {
  EXPECT_THROW(cosine_rate(1.0f, 0.0f, 0), ConfigError);
  EXPECT_THROW(step_decay(1.0f, 0.5f, 0), ConfigError);
  EXPECT_THROW(multistep_decay(1.0f, 0.5f, {3, 2}), ConfigError);
  EXPECT_THROW(warmed_up(constant_rate(1), -1), ConfigError);
  EXPECT_THROW(noam_rate(0, 1), ConfigError);
  EXPECT_THROW(noam_rate(1, 0), ConfigError);
}

}  // namespace
}  // namespace sluice::schedules_test
