// Windows cut twice, of any area, and pasted; AutoAugment's place among the changes; micro-batches that are mixed.
#include "data/mixing.h"

#include <gmock/gmock.h>

#include <cmath>

#include "data/loader.h"
#include "data/resize.h"
#include "tests/data/image_fixtures.h"
#include "tests/support/support.h"

namespace sluice::mixing_test {
namespace {

std::shared_ptr<ImageDataset> noisy(int64_t count, int64_t height, int64_t width) {
  auto d = std::make_shared<ImageDataset>();
  d->image = {height, width, 3};
  d->pixels = test::noise(count * height, width, 9).pixels;
  for (int64_t i = 0; i < count; ++i) d->labels.push_back(int32_t(i));
  d->class_names.assign(size_t(count), "c");
  d->mean = {0.3f, 0.4f, 0.5f};
  d->stddev = {0.5f, 0.3f, 0.2f};
  return d;
}

RgbImage image_of(const ImageDataset& d, int64_t i) {
  const auto at = d.pixels.begin() + i * d.image.numel();
  return {d.image[0], d.image[1], {at, at + d.image.numel()}};
}

std::vector<double> normalised(const ImageDataset& d, const RgbImage& image) {
  std::vector<double> out;
  for (size_t i = 0; i < image.pixels.size(); ++i)
    out.push_back((image.pixels[i] / 255.0 - double(d.mean[i % 3])) / double(d.stddev[i % 3]));
  return out;
}

/// The window of an image's own size at this place of the padded image, by definition.
RgbImage window(const RgbImage& image, int64_t down, int64_t right) {
  RgbImage out{image.height, image.width, {}};
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t row = y + down, column = x + right;
        const bool inside = row >= 0 && row < image.height && column >= 0 && column < image.width;
        out.pixels.push_back(inside ? image.pixels[size_t((row * image.width + column) * 3 + c)] : uint8_t(0));
      }
  return out;
}

TEST(CropTwice, IsAWindowOfAWindow) {
  const auto d = noisy(2, 6, 5);
  const Augmentation a{.crop_padding = 3, .crops = 2};
  bool differ = false;
  for (int64_t epoch = 0; epoch < 50; ++epoch) {
    const AugmentDraw draw = draw_augmentation(a, 1, 1, epoch);
    std::vector<float> out(size_t(d->image.numel()), 1e9f);
    write_image(*d, 1, a, draw, out.data());
    const RgbImage once = window(image_of(*d, 1), draw.top - 3, draw.left - 3);
    const RgbImage twice = window(once, draw.again_top - 3, draw.again_left - 3);
    test::expect_close({out.begin(), out.end()}, normalised(*d, twice), 1e-6);
    differ |= draw.top != draw.again_top;
  }
  EXPECT_TRUE(differ);
}

TEST(Policies, ChangeBytesAfterTheWindowIsCut) {
  const auto d = noisy(3, 8, 8);
  const Augmentation a{.crop_padding = 2, .policy = AutoAugment::kCifar};
  int changed = 0;
  for (int64_t epoch = 0; epoch < 100; ++epoch) {
    const AugmentDraw draw = draw_augmentation(a, 1, 2, epoch);
    RgbImage expected = window(image_of(*d, 2), draw.top - 2, draw.left - 2);
    for (int i = 0; i < draw.policy.count; ++i)
      apply(draw.policy.changes[size_t(i)].op, draw.policy.changes[size_t(i)].amount, expected);
    changed += draw.policy.count;
    std::vector<float> out(size_t(d->image.numel()), 1e9f);
    write_image(*d, 2, a, draw, out.data());
    test::expect_close({out.begin(), out.end()}, normalised(*d, expected), 1e-6);
  }
  EXPECT_GT(changed, 50);
}

struct Content {
  std::vector<float> images;
  std::vector<int32_t> labels, labels2;
  std::vector<float> share;
  bool operator==(const Content&) const = default;
};
Content content(Loader& loader, int64_t mb) {
  const Batch b = loader.fetch(mb);
  Stream reader(Device{});
  b.claim(reader);
  Content c{b.at("images").to_vector<float>(reader), b.at("labels").to_vector<int32_t>(reader), {}, {}};
  if (b.ports.size() == 2) return c;
  c.labels2 = b.at("labels2").to_vector<int32_t>(reader);
  c.share = b.at("share").to_vector<float>(reader);
  return c;
}

LoaderOptions options(int64_t batch, const MixingOptions& how) {
  return {.batch = batch, .seed = 3, .augmentation = {.crop_padding = 1, .flip = true, .mixing = how}};
}

/// Image k of a micro-batch.
std::span<const float> image_at(const Content& c, size_t k, size_t numel) {
  return std::span(c.images).subspan(k * numel, numel);
}

TEST(MixedBatches, CutMixTakesABoxOfTheNextSampleAndItsShareOfTheArea) {
  const auto d = noisy(20, 6, 8);
  Loader plain(d, options(5, {})), mixed(d, options(5, {.how = Mixing::kCutMix}));
  int boxes = 0;
  for (int64_t mb = 0; mb < 8; ++mb) {
    const Content a = content(plain, mb), b = content(mixed, mb);
    ASSERT_EQ(a.labels, b.labels);
    for (size_t k = 0; k < 5; ++k) {
      const size_t other = (k + 1) % 5;
      EXPECT_EQ(b.labels2[k], a.labels[other]);
      int64_t own = 0, theirs = 0;
      for (size_t p = 0; p < 48; ++p) {  // a pixel is of one of the two, as a whole
        const auto pixel = [&](const Content& c, size_t image) { return image_at(c, image, 144).subspan(p * 3, 3); };
        const auto got = pixel(b, k), mine = pixel(a, k), next = pixel(a, other);
        const bool is_next = std::equal(got.begin(), got.end(), next.begin());
        const bool is_mine = std::equal(got.begin(), got.end(), mine.begin());
        ASSERT_TRUE(is_next || is_mine);
        own += is_mine;
        theirs += is_next;
      }
      // Black padding may be of both.
      EXPECT_LE(48 - theirs, std::lround(double(b.share[k]) * 48));
      EXPECT_GE(own, std::lround(double(b.share[k]) * 48));
      boxes += b.share[k] < 1;
    }
  }
  EXPECT_GT(boxes, 30);
}

TEST(MixedBatches, MixUpIsTheMeanOfTwoSamplesByTheirShares) {
  const auto d = noisy(20, 6, 8);
  Loader plain(d, options(5, {})), mixed(d, options(5, {.how = Mixing::kMixUp, .probability = 0.8f}));
  int untouched = 0;
  for (int64_t mb = 0; mb < 20; ++mb) {
    const Content a = content(plain, mb), b = content(mixed, mb);
    for (size_t k = 0; k < 5; ++k) {
      const size_t other = (k + 1) % 5;
      EXPECT_EQ(b.labels2[k], a.labels[other]);
      const double share = double(b.share[k]);
      for (size_t p = 0; p < 144; ++p)
        ASSERT_NEAR(b.images[k * 144 + p],
                    share * double(a.images[k * 144 + p]) + (1 - share) * double(a.images[other * 144 + p]), 1e-5);
      untouched += share == 1;
    }
  }
  EXPECT_NEAR(untouched / 100.0, 0.2, 0.1);
}

TEST(MixedBatches, AShareDependsOnSeedSampleAndEpochAlone) {
  const auto d = noisy(20, 6, 8);
  const MixingOptions how{.how = Mixing::kMixUp};
  Loader five(d, options(5, how)), ten(d, options(10, how)), again(d, options(5, how));
  std::vector<float> by_five, by_ten;
  for (int64_t mb = 0; mb < 4; ++mb) {
    const Content c = content(five, mb);
    EXPECT_EQ(c, content(again, mb));
    by_five.insert(by_five.end(), c.share.begin(), c.share.end());
  }
  for (int64_t mb = 0; mb < 2; ++mb) {
    const std::vector<float> share = content(ten, mb).share;
    by_ten.insert(by_ten.end(), share.begin(), share.end());
  }
  EXPECT_EQ(by_five, by_ten);
  EXPECT_NE(draw_mixing(how, d->image, {Rng{.seed = 1}, "m", 2, 3}).share,
            draw_mixing(how, d->image, {Rng{.seed = 1}, "m", 2, 4}).share);
}

TEST(MixedBatches, OneSampleIsMixedWithItselfAndEvaluationMixesNothing) {
  const auto d = noisy(4, 6, 8);
  Loader plain(d, options(1, {})), one(d, options(1, {.how = Mixing::kMixUp}));
  const Content a = content(plain, 0), b = content(one, 0);
  EXPECT_EQ(b.labels2, b.labels);
  for (size_t i = 0; i < a.images.size(); ++i) EXPECT_NEAR(a.images[i], b.images[i], 1e-5);
  LoaderOptions evaluation = options(2, {.how = Mixing::kCutMix});
  evaluation.training = false;
  Loader tested(d, evaluation);
  EXPECT_EQ(tested.fetch(0).ports.size(), 2u);
}

TEST(MixedBatches, BoxesCoverTheWholeImageAndCountWhatIsInside) {
  const Shape image{9, 12, 1};
  std::vector<int> seen(108, 0);
  double mean = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    const MixDraw m = draw_mixing({.how = Mixing::kCutMix}, image, {Rng{.seed = 1}, "m", i, 0});
    ASSERT_TRUE(m.box.top >= 0 && m.box.left >= 0 && m.box.top + m.box.height <= 9 && m.box.left + m.box.width <= 12);
    EXPECT_FLOAT_EQ(m.share, float(1 - double(m.box.height * m.box.width) / 108));
    for (int64_t y = m.box.top; y < m.box.top + m.box.height; ++y)
      for (int64_t x = m.box.left; x < m.box.left + m.box.width; ++x) ++seen[size_t(y * 12 + x)];
    mean += double(m.share) / 5000;
  }
  EXPECT_THAT(seen, testing::Each(testing::Gt(100)));
  EXPECT_TRUE(mean > 0.6 && mean < 0.85) << mean;  // above 1 / 2, since boxes are cut off
}

TEST(Paste, BlendsABoxOfTheImageIntoAnotherPlace) {
  const Shape image{5, 7, 2};
  std::vector<float> before(size_t(image.numel()), 0);
  for (size_t i = 0; i < before.size(); ++i) before[i] = float(i * i % 31) - 9;
  int flips = 0, moved = 0;
  for (int64_t n = 0; n < 300; ++n) {
    const PasteDraw d = draw_paste(image, {Rng{.seed = 1}, "p", n, 0});
    ASSERT_TRUE(d.top + d.from.height <= 5 && d.left + d.from.width <= 7);
    std::vector<float> out = before;
    paste(image, d, out.data());
    std::vector<double> expected(before.begin(), before.end());
    for (int64_t y = 0; y < d.from.height; ++y)
      for (int64_t x = 0; x < d.from.width; ++x)
        for (int64_t c = 0; c < 2; ++c) {
          const auto at = [](int64_t row, int64_t column, int64_t channel) {
            return size_t((row * 7 + column) * 2 + channel);
          };
          const int64_t row = d.upside_down ? d.from.top + d.from.height - 1 - y : d.from.top + y;
          const int64_t column = d.mirror ? d.from.left + d.from.width - 1 - x : d.from.left + x;
          const size_t to = at(d.top + y, d.left + x, c);
          expected[to] =
              double(d.weight) * double(before[to]) + (1 - double(d.weight)) * double(before[at(row, column, c)]);
        }
    test::expect_close({out.begin(), out.end()}, expected, 1e-6);
    flips += d.mirror && d.upside_down;
    moved += d.top != d.from.top || d.left != d.from.left;
  }
  EXPECT_GT(flips, 30);
  EXPECT_GT(moved, 150);
}

TEST(Paste, IsTheLastChangeOfAnImage) {
  const auto d = noisy(3, 6, 8);
  Loader plain(d, {.batch = 3, .seed = 3, .augmentation = {.flip = true}}),
      pasted(d, {.batch = 3, .seed = 3, .augmentation = {.flip = true, .paste = true}});
  const Content a = content(plain, 0), b = content(pasted, 0);
  EXPECT_NE(a.images, b.images);
  for (size_t k = 0; k < 3; ++k) {
    std::vector<float> expected(a.images.begin() + std::ptrdiff_t(k * 144),
                                a.images.begin() + std::ptrdiff_t(k * 144 + 144));
    paste(d->image, draw_paste(d->image, {Rng{.seed = 3}, "image.paste", a.labels[k], 0}), expected.data());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), b.images.begin() + std::ptrdiff_t(k * 144)));
  }
}

TEST(AnyArea, WindowsHaveTheirAreasAndSides) {
  double least = 2, most = 0, narrow = 9, wide = 0;
  for (int64_t n = 0; n < 3000; ++n) {
    const Window w = draw_window(300, 400, {Rng{.seed = 1}, "w", n, 0});
    ASSERT_TRUE(w.top >= 0 && w.left >= 0 && w.top + w.height <= 300 && w.left + w.width <= 400);
    const double area = double(w.height * w.width) / 120000, aspect = double(w.width) / double(w.height);
    least = std::min(least, area);
    most = std::max(most, area);
    narrow = std::min(narrow, aspect);
    wide = std::max(wide, aspect);
  }
  EXPECT_NEAR(least, 0.08, 0.01);
  EXPECT_GT(most, 0.9);
  EXPECT_NEAR(narrow, 0.75, 0.03);
  EXPECT_NEAR(wide, 4.0 / 3, 0.05);
  // Where nothing fits, the largest window in the middle whose sides do.
  const Window strip = draw_window(10, 1000, {Rng{.seed = 1}, "w", 0, 0});
  EXPECT_TRUE(strip.height == 10 && strip.width == 13 && strip.left == 493 && strip.top == 0);
}

TEST(AnyArea, AWindowIsResizedToTheImagesSize) {
  const auto d = noisy(4, 12, 10);
  Loader loader(d, {.batch = 4, .seed = 5, .augmentation = {.any_area = true}});
  const Content c = content(loader, 0);
  for (size_t k = 0; k < 4; ++k) {
    const RgbImage whole = image_of(*d, c.labels[k]);
    const Window w = draw_window(12, 10, {Rng{.seed = 5}, "image.area", c.labels[k], 0});
    RgbImage cut{w.height, w.width, {}};
    for (int64_t y = 0; y < w.height; ++y)
      for (int64_t i = 0; i < w.width * 3; ++i)
        cut.pixels.push_back(whole.pixels[size_t(((w.top + y) * 10 + w.left) * 3 + i)]);
    const auto got = image_at(c, k, 360);
    test::expect_close({got.begin(), got.end()}, normalised(*d, resize(cut, {12, 0, 12}, {10, 0, 10})), 1e-6);
  }
}

TEST(Augment, WhatDoesNotFitIsRefused) {
  const auto d = noisy(3, 4, 4);
  EXPECT_NO_THROW(check({.crop_padding = 1, .crops = 2}, *d));
  EXPECT_THROW(check({.crops = 3}, *d), ConfigError);
  EXPECT_THROW(check({.mixing = {.probability = 1.5f}}, *d), ConfigError);
  EXPECT_THROW(check({.mixing = {.beta = 0}}, *d), ConfigError);
  EXPECT_THROW(check({.views = 2, .mixing = {.how = Mixing::kCutMix}}, *d), ConfigError);
  ImageDataset grey = *d;
  grey.image = {4, 4, 1};
  EXPECT_THROW(check({.policy = AutoAugment::kCifar}, grey), ConfigError);
  EXPECT_THROW(check({.any_area = true}, grey), ConfigError);
  EXPECT_NO_THROW(check({.paste = true, .mixing = {.how = Mixing::kMixUp}}, grey));
}

}  // namespace
}  // namespace sluice::mixing_test
