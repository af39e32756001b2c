// What a configuration says about training: augmentation, loss and rates, by the names of the flags.
#include "apps/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/text.h"

namespace sluice::recipe_test {
namespace {

RunConfig with(const std::vector<std::pair<std::string, std::string>>& fields) {
  RunConfig c;
  c.data_dir = "somewhere";
  for (const auto& [key, value] : fields) set_field(c, key, value);
  return c;
}

TEST(Recipe, AugmentationFollowsItsNamesAndTheDataSet) {
  const ImageDataset images;
  const auto made = [&](const std::vector<std::pair<std::string, std::string>>& fields) {
    return augmentation_of(with(fields), images);
  };
  EXPECT_TRUE(made({}).flip);
  EXPECT_EQ(made({}).crop_padding, 4);
  EXPECT_FALSE(made({{"data", "svhn"}}).any());  // none of its own
  EXPECT_TRUE(made({{"data", "svhn"}, {"augmentation", "basic"}}).any());
  EXPECT_TRUE(made({{"data", "imagenet"}}).any_area);
  EXPECT_FALSE(made({{"augmentation", "none"}}).any());
  EXPECT_FALSE(made({{"augmentation", "crop"}}).flip);
  EXPECT_EQ(made({{"augmentation", "crop_twice"}}).crops, 2);
  EXPECT_TRUE(made({{"augmentation", "area"}}).any_area);
  EXPECT_EQ(made({{"augmentation", "two_views"}}).views, 2);
  EXPECT_EQ(made({{"autoaugment", "true"}, {"data", "cifar100"}}).policy, AutoAugment::kCifar);
  EXPECT_EQ(made({{"autoaugment", "true"}, {"data", "svhn"}}).policy, AutoAugment::kSvhn);
  EXPECT_TRUE(made({}).rotate_both_ways);
  EXPECT_FALSE(made({{"faithful", "true"}}).rotate_both_ways);
  EXPECT_TRUE(made({{"rcpaste", "true"}}).paste);
}

TEST(Recipe, MixingFollowsItsFlags) {
  const ImageDataset images;
  const auto mixing = [&](const std::vector<std::pair<std::string, std::string>>& fields) {
    return augmentation_of(with(fields), images).mixing;
  };
  EXPECT_EQ(mixing({}).how, Mixing::kNone);
  EXPECT_FALSE(class_loss_of(with({})).mixed);
  EXPECT_EQ(mixing({{"cutmix", "true"}}).how, Mixing::kCutMix);
  EXPECT_EQ(mixing({{"cutmix", "true"}}).probability, 1.0f);
  EXPECT_EQ(mixing({{"cutmix_prob", "0.5"}, {"cutmix_beta", "2"}}).how, Mixing::kCutMix);
  EXPECT_EQ(mixing({{"cutmix_prob", "0.5"}}).probability, 0.5f);
  EXPECT_EQ(mixing({{"cutmix_prob", "0.5"}, {"cutmix_beta", "2"}}).beta, 2.0f);
  EXPECT_EQ(mixing({{"mixup", "true"}}).how, Mixing::kMixUp);
  EXPECT_EQ(mixing({{"mixup", "true"}}).probability, 0.8f);
  EXPECT_TRUE(class_loss_of(with({{"mixup", "true"}})).mixed);
  EXPECT_EQ(class_loss_of(with({{"smoothing", "0.1"}})).smoothing, 0.1f);
  EXPECT_THROW(augmentation_of(with({{"cutmix", "true"}}), TextDataset()), ConfigError);
  EXPECT_FALSE(augmentation_of(with({}), TextDataset()).any());
}

/// Rates of the first group at the first step of each epoch, of ten steps each.
std::vector<float> rates(const std::vector<std::pair<std::string, std::string>>& fields) {
  const RunConfig c = with(fields);
  check_config(c);
  const SettingsAt at = settings_of(c, 10);
  std::vector<float> all;
  for (int64_t epoch = 0; epoch < c.epochs; ++epoch) {
    all.push_back(at(epoch * 10)[0].lr);
    if (c.lr_schedule != "cosine_step" && c.lr_schedule != "noam") {
      EXPECT_EQ(at(epoch * 10 + 9)[0].lr, all.back());
    }
  }
  return all;
}

TEST(Recipe, RatesFollowTheSchedulesName) {
  using testing::ElementsAre;
  using testing::FloatEq;
  EXPECT_THAT(rates({{"scheduler", "step"}, {"lr", "0.1"}, {"step_size", "2"}, {"epochs", "5"}}),
              ElementsAre(FloatEq(0.1f), FloatEq(0.1f), FloatEq(0.01f), FloatEq(0.01f), FloatEq(0.001f)));
  EXPECT_THAT(rates({{"scheduler", "multistep"}, {"lr", "1"}, {"gamma", "0.5"}, {"max_epochs", "4"}}),
              ElementsAre(1, 1, 0.5f, 0.25f));
  EXPECT_THAT(
      rates({{"scheduler", "cosine_epoch"}, {"lr", "1"}, {"min_lr", "0"}, {"epochs", "8"}, {"warmup_epoch", "4"}}),
      ElementsAre(0, 0.25f, 0.5f, 0.75f, 1, 1, FloatEq(0.96193977f), FloatEq(0.8535534f)));
  const std::vector<float> noam =
      rates({{"scheduler", "noam"}, {"embedding_dim", "4"}, {"warmup_steps", "100"}, {"epochs", "2"}});
  EXPECT_THAT(noam, ElementsAre(FloatEq(0.0005f), FloatEq(0.0055f)));
  EXPECT_THAT(rates({{"scheduler", "constant"}, {"lr", "0.5"}, {"epochs", "2"}}), ElementsAre(0.5f, 0.5f));
}

}  // namespace
}  // namespace sluice::recipe_test
