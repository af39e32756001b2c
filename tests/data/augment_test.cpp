// Crop, flip and normalisation against a plain reading of their definitions; what the draws depend on.
#include "data/augment.h"

#include <cmath>
#include <set>

#include "tests/support/support.h"

namespace sluice::augment_test {
namespace {

ImageDataset numbered_images(int64_t count, int64_t height, int64_t width, int64_t channels) {
  ImageDataset d;
  d.image = {height, width, channels};
  for (int64_t i = 0; i < count * d.image.numel(); ++i) d.pixels.push_back(uint8_t(1 + i * 37 % 255));
  d.labels.assign(size_t(count), 0);
  d.class_names = {"only"};
  for (int64_t c = 0; c < channels; ++c) {
    d.mean.push_back(0.25f + 0.1f * float(c));
    d.stddev.push_back(0.5f - 0.1f * float(c));
  }
  return d;
}

/// Pad with black, cut the window out, mirror, normalise: one pixel after another.
std::vector<double> reference(const ImageDataset& d, int64_t image, int padding, AugmentDraw draw) {
  const int64_t height = d.image[0], width = d.image[1], channels = d.image[2];
  std::vector<double> out;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const int64_t from_x = (draw.mirror ? width - 1 - x : x) + draw.left - padding, from_y = y + draw.top - padding;
      const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = size_t(((image * height + from_y) * width + from_x) * channels + c);
        const double pixel = inside ? double(d.pixels[at]) / 255 : 0.0;
        out.push_back((pixel - double(d.mean[size_t(c)])) / double(d.stddev[size_t(c)]));
      }
    }
  }
  return out;
}

TEST(Augment, EveryWindowAndMirrorIsTheDefinition) {
  for (const Shape shape : {Shape{6, 5, 3}, Shape{4, 4, 1}, Shape{1, 1, 2}}) {
    const ImageDataset d = numbered_images(2, shape[0], shape[1], shape[2]);
    for (int padding : {0, 1, 3, 9}) {  // 9: windows that miss the image altogether
      for (int top = 0; top <= 2 * padding; ++top) {
        for (int left = 0; left <= 2 * padding; ++left) {
          for (bool mirror : {false, true}) {
            SCOPED_TRACE(testing::Message() << shape.text() << " padding " << padding << " top " << top << " left "
                                            << left << (mirror ? " mirrored" : ""));
            const AugmentDraw draw{.top = top, .left = left, .mirror = mirror};
            std::vector<float> out(size_t(shape.numel()), 1e9f);
            write_image(d, 1, {.crop_padding = padding, .flip = true}, draw, out.data());
            test::expect_close({out.begin(), out.end()}, reference(d, 1, padding, draw), 1e-6);
          }
        }
      }
    }
  }
}

TEST(Augment, DrawsCoverEveryPlaceAndBothSides) {
  const Augmentation a{.crop_padding = 2, .flip = true};
  std::set<std::tuple<int, int, bool>> seen;
  for (int64_t image = 0; image < 1000; ++image) {
    const AugmentDraw d = draw_augmentation(a, 1, image, 0);
    ASSERT_TRUE(d.top >= 0 && d.top <= 4 && d.left >= 0 && d.left <= 4);
    seen.insert({d.top, d.left, d.mirror});
  }
  EXPECT_EQ(seen.size(), 50u);  // 5 x 5 places, mirrored or not
}

TEST(Augment, DrawsDependOnSeedImageAndEpoch) {
  const Augmentation a{.crop_padding = 1000, .flip = true};
  const auto place = [&](uint64_t seed, int64_t image, int64_t epoch) {
    const AugmentDraw d = draw_augmentation(a, seed, image, epoch);
    return std::pair(d.top, d.left);
  };
  EXPECT_EQ(place(1, 2, 3), place(1, 2, 3));
  EXPECT_NE(place(1, 2, 3), place(2, 2, 3));
  EXPECT_NE(place(1, 2, 3), place(1, 3, 3));
  EXPECT_NE(place(1, 2, 3), place(1, 2, 4));
}

TEST(Augment, NothingIsDrawnWhereNothingIsAskedFor) {
  for (int64_t image = 0; image < 20; ++image) {
    const AugmentDraw none = draw_augmentation({}, 1, image, 0);
    EXPECT_TRUE(none.top == 0 && none.left == 0 && !none.mirror);
    EXPECT_FALSE(draw_augmentation({.crop_padding = 4, .flip = false}, 1, image, 0).mirror);
  }
}

}  // namespace
}  // namespace sluice::augment_test
