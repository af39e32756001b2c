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

TEST(Schedules, RefuseEmptySpans) {
  EXPECT_THROW(cosine_rate(1.0f, 0.0f, 0), ConfigError);
  EXPECT_THROW(step_decay(1.0f, 0.5f, 0), ConfigError);
}

}  // namespace
}  // namespace sluice::schedules_test
