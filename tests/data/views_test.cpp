// Strong augmentation: what its choices depend on, what an image becomes, and micro-batches of one view or two.
#include <cmath>
#include <map>
#include <set>

#include "data/loader.h"
#include "tests/data/image_fixtures.h"
#include "tests/support/support.h"

namespace sluice::views_test {
namespace {

std::shared_ptr<ImageDataset> noisy(int64_t count, int64_t side = 6) {
  auto d = std::make_shared<ImageDataset>();
  d->image = {side, side, 3};
  d->pixels = test::noise(count * side, side, 9).pixels;
  for (int64_t i = 0; i < count; ++i) d->labels.push_back(int32_t(i));
  d->class_names.assign(size_t(count), "c");
  d->mean = {0.3f, 0.4f, 0.5f};
  d->stddev = {0.5f, 0.3f, 0.2f};
  return d;
}

TEST(StrongAugmentation, ChoicesHaveTheirRangesAndFrequencies) {
  const Augmentation a = strong_augmentation();
  int jitters = 0, greys = 0;
  std::set<std::array<uint8_t, 4>> orders;
  float least[4] = {9, 9, 9, 9}, most[4] = {-9, -9, -9, -9};
  constexpr int kImages = 20000;
  for (int64_t image = 0; image < kImages; ++image) {
    const ColorChange c = draw_augmentation(a, 1, image, 0).color;
    jitters += c.jitter;
    greys += c.grey;
    orders.insert(c.order);
    const float values[4] = {c.brightness, c.contrast, c.saturation, c.hue};
    for (size_t k = 0; k < 4; ++k) {
      least[k] = std::min(least[k], values[k]);
      most[k] = std::max(most[k], values[k]);
    }
  }
  EXPECT_NEAR(jitters / double(kImages), 0.8, 0.015);
  EXPECT_NEAR(greys / double(kImages), 0.2, 0.015);
  EXPECT_EQ(orders.size(), 24u);
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_GE(least[k], 0.6f);
    EXPECT_LE(most[k], 1.4f);
    EXPECT_LT(least[k], 0.61f);
    EXPECT_GT(most[k], 1.39f);
  }
  EXPECT_NEAR(least[3], -0.1, 1e-3);
  EXPECT_NEAR(most[3], 0.1, 1e-3);
}

TEST(StrongAugmentation, ChoicesAreIndependentOfEachOther) {
  const Augmentation a = strong_augmentation();
  constexpr int kImages = 20000;
  int both = 0;
  double products[6] = {0, 0, 0, 0, 0, 0};
  for (int64_t image = 0; image < kImages; ++image) {
    const AugmentDraw d = draw_augmentation(a, 1, image, 0);
    both += d.color.jitter && d.color.grey;
    const double v[4] = {(d.color.brightness - 1) / 0.4, (d.color.contrast - 1) / 0.4, (d.color.saturation - 1) / 0.4,
                         d.mirror ? 1.0 : -1.0};
    int pair = 0;
    for (int i = 0; i < 4; ++i)
      for (int k = i + 1; k < 4; ++k) products[pair++] += v[i] * v[k] / kImages;
  }
  EXPECT_NEAR(both / double(kImages), 0.16, 0.015);
  for (const double p : products) EXPECT_NEAR(p, 0, 0.02);
}

TEST(StrongAugmentation, ChoicesDependOnSeedImageEpochAndView) {
  const Augmentation a = strong_augmentation(2);
  const auto choice = [&](uint64_t seed, int64_t image, int64_t epoch) {
    const ColorChange c = draw_augmentation(a, seed, image, epoch, 1).color;
    return std::array{c.brightness, c.contrast, c.saturation, c.hue};
  };
  EXPECT_EQ(choice(1, 2, 3), choice(1, 2, 3));
  for (const auto& other : {choice(2, 2, 3), choice(1, 3, 3), choice(1, 2, 4)}) EXPECT_NE(choice(1, 2, 3), other);
  int same_place = 0;
  for (int64_t image = 0; image < 1000; ++image) {
    const AugmentDraw first = draw_augmentation(a, 1, image, 0, 0), second = draw_augmentation(a, 1, image, 0, 1);
    EXPECT_FALSE(first.color.any());  // the weak view
    same_place += first.top == second.top && first.left == second.left && first.mirror == second.mirror;
  }
  EXPECT_LT(same_place, 30);  // 1 in 162 by chance
}

TEST(StrongAugmentation, TheFirstViewIsTheBasicOne) {
  const Augmentation strong = strong_augmentation(2), basic{.crop_padding = 4, .flip = true};
  for (int64_t image = 0; image < 100; ++image) {
    const AugmentDraw a = draw_augmentation(strong, 1, image, 5, 0), b = draw_augmentation(basic, 1, image, 5);
    EXPECT_TRUE(a.top == b.top && a.left == b.left && a.mirror == b.mirror);
  }
}

TEST(StrongAugmentation, ColoursChangeInBytesAfterTheWindowIsCutAndBeforeNormalising) {
  const auto d = noisy(3);
  const Augmentation a{.crop_padding = 2, .flip = true, .jitter = 1, .grey = 0.5f};
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const AugmentDraw draw = draw_augmentation(a, 1, 1, epoch);
    ASSERT_TRUE(draw.color.jitter);
    std::vector<uint8_t> window;
    for (int64_t y = 0; y < 6; ++y)
      for (int64_t x = 0; x < 6; ++x)
        for (int64_t c = 0; c < 3; ++c) {
          const int64_t from_x = (draw.mirror ? 5 - x : x) + draw.left - 2, from_y = y + draw.top - 2;
          const bool inside = from_x >= 0 && from_x < 6 && from_y >= 0 && from_y < 6;
          window.push_back(inside ? d->pixels[size_t(((6 + from_y) * 6 + from_x) * 3 + c)] : uint8_t(0));
        }
    change_colors(draw.color, window);
    std::vector<double> expected;
    for (size_t i = 0; i < window.size(); ++i)
      expected.push_back((window[i] / 255.0 - double(d->mean[i % 3])) / double(d->stddev[i % 3]));
    std::vector<float> out(window.size(), 1e9f);
    write_image(*d, 1, a, draw, out.data());
    test::expect_close({out.begin(), out.end()}, expected, 1e-6);
  }
}

struct Content {
  std::vector<float> images;
  std::vector<int32_t> labels;
};
Content content(Loader& loader, int64_t mb) {
  const Batch b = loader.fetch(mb);
  EXPECT_EQ(b.at("images").dim(0), b.at("labels").dim(0));
  Stream reader(Device{});
  b.claim(reader);
  return {b.at("images").to_vector<float>(reader), b.at("labels").to_vector<int32_t>(reader)};
}

TEST(TwoViews, AMicroBatchHoldsAllFirstViewsThenAllSecondOnes) {
  const auto d = noisy(20);
  Loader loader(d, {.batch = 5, .seed = 3, .augmentation = strong_augmentation(2)});
  EXPECT_EQ(loader.per_epoch(), 4);
  for (int64_t mb = 0; mb < 8; ++mb) {
    const Content c = content(loader, mb);
    ASSERT_EQ(c.labels.size(), 10u);
    for (size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(c.labels[i], c.labels[(i + 5) % 10]);
      std::vector<float> expected(108);
      const int32_t sample = c.labels[i];  // each sample is a class of its own
      const Augmentation a = strong_augmentation(2);
      write_image(*d, sample, a, draw_augmentation(a, 3, sample, mb / 4, i < 5 ? 0 : 1), expected.data());
      EXPECT_EQ(expected,
                std::vector<float>(c.images.begin() + int64_t(i) * 108, c.images.begin() + int64_t(i + 1) * 108));
    }
  }
}

TEST(TwoViews, ASampleLooksTheSameHoweverTheEpochIsCut) {
  const auto d = noisy(24);
  std::map<std::pair<int32_t, int>, std::vector<float>> seen;  // by sample and view
  for (const int64_t batch : {3, 8, 24}) {
    Loader loader(d, {.batch = batch, .seed = 1, .augmentation = strong_augmentation(2)});
    for (int64_t mb = 0; mb < loader.per_epoch(); ++mb) {
      const Content c = content(loader, mb);
      for (int64_t i = 0; i < 2 * batch; ++i) {
        const std::vector<float> image(c.images.begin() + i * 108, c.images.begin() + (i + 1) * 108);
        const auto [at, is_new] = seen.emplace(std::pair(c.labels[size_t(i)], i < batch ? 0 : 1), image);
        EXPECT_EQ(at->second, image);
      }
    }
  }
  EXPECT_EQ(seen.size(), 48u);
}

TEST(TwoViews, EvaluationHasOneViewUnchanged) {
  const auto d = noisy(5);
  Loader loader(d, {.batch = 5, .training = false, .augmentation = strong_augmentation(2)});
  const Content c = content(loader, 0);
  ASSERT_EQ(c.labels.size(), 5u);
  for (size_t i = 0; i < c.images.size(); ++i)
    EXPECT_NEAR(c.images[i], (d->pixels[i] / 255.0f - d->mean[i % 3]) / d->stddev[i % 3], 1e-5f);
}

TEST(TwoViews, RefusesWhatCannotBeDone) {
  const auto d = noisy(5);
  const auto load = [&](const Augmentation& a) { Loader(d, {.batch = 2, .augmentation = a}); };
  EXPECT_NO_THROW(load(strong_augmentation()));
  EXPECT_THROW(load({.crop_padding = -1}), ConfigError);
  EXPECT_THROW(load({.jitter = 1.1f}), ConfigError);
  EXPECT_THROW(load({.jitter = std::nanf("")}), ConfigError);
  EXPECT_THROW(load({.grey = -0.1f}), ConfigError);
  EXPECT_THROW(load({.views = 0}), ConfigError);
  EXPECT_THROW(load({.views = 3}), ConfigError);
  d->image = {6, 18, 1};
  d->mean = d->stddev = {1};
  EXPECT_THROW(load(strong_augmentation()), ConfigError);
  EXPECT_NO_THROW(load({.crop_padding = 4, .flip = true, .views = 2}));
}

}  // namespace
}  // namespace sluice::views_test
