// The encoder-decoder transformer: published counts, what padding may change, how it is cut.
#include "models/translation.h"

#include <cmath>

#include "models/paper_bytes.h"
#include "tests/models/counts.h"
#include "tests/models/pairs.h"

namespace sluice::test::translation_test {
namespace {

using TranslationTest = OnEachDevice;
INSTANTIATE_TEST_SUITE_P(Devices, TranslationTest, testing::ValuesIn(test_devices()), device_label);

TranslationConfig small() {
  return {.source_vocabulary = 11, .target_vocabulary = 13, .width = 8, .inner = 12, .heads = 2, .layers = 3};
}

TEST(Translation, HasThePublishedParameterCounts) {
  for (const int64_t v : {1000, 8000})
    EXPECT_EQ(total(translation_backprop({.source_vocabulary = v, .target_vocabulary = v})), 44'140'544 + 1537 * v);
  // Vectors of ABA: an input of each converted layer, three for Q, K and V.
  const auto with = [](Auxiliary from, int level) {
    return total(translation_backprop(
               {.source_vocabulary = 1000, .target_vocabulary = 1000, .auxiliary = {.from = from, .level = level}})) -
           (44'140'544 + 1'537'000);
  };
  EXPECT_EQ(with(Auxiliary::kSign, 4), 0);
  EXPECT_EQ(with(Auxiliary::kBias, 1), 12 * 2048);
  EXPECT_EQ(with(Auxiliary::kBias, 2), 12 * (2048 + 512));
  EXPECT_EQ(with(Auxiliary::kBias, 3), 12 * (2048 + 512) + 18 * 512);
  EXPECT_EQ(with(Auxiliary::kBias, 4), 12 * (2048 + 512) + 18 * 512 + 18 * 3 * 512);
}

TEST(Translation, IsCutIntoTheStagesThatAreAskedFor) {
  TranslationConfig c = small();
  for (const auto& [layers, stages] : {std::pair{1, 8u}, {2, 6u}, {3, 4u}, {9, 4u}}) {
    c.stage_layers = layers;
    EXPECT_EQ(translation_backprop(c).size(), stages) << layers;
  }
  c.stage_layers = 0;
  EXPECT_THROW(translation_backprop(c), ConfigError);
  c = small();
  c.heads = 3;
  EXPECT_THROW(translation_backprop(c), ShapeError);
  c = small();
  c.source_vocabulary = 1;
  EXPECT_THROW(translation_backprop(c), ConfigError);
}

TEST_P(TranslationTest, PaddingOfEitherSideChangesNothing) {
  const Stream s(device());
  for (const float smoothing : {0.0f, 0.1f}) {
    const Pass tight = pass_over(s, translation_backprop(small()), pairs(s, 3, 4), {.smoothing = smoothing});
    const Pass padded = pass_over(s, translation_backprop(small()), pairs(s, 8, 7), {.smoothing = smoothing});
    EXPECT_TRUE(std::isfinite(tight.loss));
    EXPECT_NEAR(tight.loss, padded.loss, 1e-5);
    expect_close(padded.gradient, tight.gradient, 1e-4);
  }
}

TEST_P(TranslationTest, TheCutChangesNothing) {
  const Stream s(device());
  TranslationConfig one = small(), few = small();
  few.stage_layers = 3;
  // Parameters are drawn by their paths, which name the stage, so the weights of both differ: the loss of a network
  // that has just begun is near ln(words) all the same.
  for (const TranslationConfig& c : {one, few}) {
    const Pass p = pass_over(s, translation_backprop(c), pairs(s, 3, 4));
    EXPECT_NEAR(p.loss, std::log(13.0), 1.5);
    EXPECT_GT(std::count_if(p.gradient.begin(), p.gradient.end(), [](double g) { return g != 0; }),
              int64_t(p.gradient.size() / 2));
  }
}

TEST_P(TranslationTest, AuxiliaryActivationsLeaveTheLossAndInputGradientsAsTheyAre) {
  const Stream s(device());
  TranslationConfig c = small();
  const Pass plain = pass_over(s, translation_backprop(c), pairs(s, 3, 4));
  c.auxiliary = {.from = Auxiliary::kSign, .level = 4, .epsilon = 1e-6f};  // forward hardly differs
  const Pass signs = pass_over(s, translation_backprop(c), pairs(s, 3, 4));
  EXPECT_NEAR(plain.loss, signs.loss, 1e-4);
  ASSERT_EQ(plain.gradient.size(), signs.gradient.size());
  EXPECT_GT(normalised_error(signs.gradient, plain.gradient), 1e-2);  // weight gradients are other ones
}

TEST_P(TranslationTest, TheLedgerIsThePublishedFormWithoutMasksOfDropout) {
  const Stream s(device());
  constexpr int64_t kSource = 2 * 5, kTarget = 2 * 7, kWidth = 16, kWords = 24;  // tokens of both samples
  for (const Auxiliary from : {Auxiliary::kNone, Auxiliary::kBias, Auxiliary::kSign})
    for (int level = from == Auxiliary::kNone ? 0 : 1; level <= (from == Auxiliary::kNone ? 0 : 4); ++level) {
      if (!device().is_cpu() && level % 4 != 0) continue;  // an emulated GPU takes its time
      SCOPED_TRACE(testing::Message() << int(from) << " level " << level);
      const TranslationConfig c{.source_vocabulary = kWords,
                                .target_vocabulary = kWords,
                                .width = kWidth,
                                .inner = 4 * kWidth,
                                .heads = 2,
                                .stage_layers = 4,
                                .recompute = true,
                                .auxiliary = {.from = from, .level = level}};
      const Pass pass = pass_over(s, translation_backprop(c), pairs(s, 5, 7), {.smoothing = 0.1f}, true);
      const double paper = transformer_paper_bytes({kSource, kTarget, kWidth, kWords}, {from, level});
      // Dropouts draw again: no bytes of theirs. Kept beside the paper's: ids, 4 bytes, and the source's mask, 1.
      const int64_t masks = kWidth * (6 * 6 * kSource + 6 * 7 * kTarget + kSource + kTarget);
      EXPECT_EQ(pass.kept, int64_t(paper) - masks + 4 * (kSource + kTarget) + kSource);
    }
}

TEST(Translation, MixedSamplesAreRefused) {
  EXPECT_THROW(train_on(translation_backprop(small()), {.mixed = true}), ConfigError);
}

}  // namespace
}  // namespace sluice::test::translation_test
