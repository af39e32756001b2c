// AutoAugment's changes against what PIL 9.4 made of the same images, and its tables and draws.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "data/auto_augment.h"
#include "tests/data/image_fixtures.h"

namespace sluice::image_ops_test {
namespace {

using test::gradient;
using test::noise;

uint64_t hash(const RgbImage& image) {
  return path_hash({reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size()});
}
RgbImage after(ImageOp op, double amount, RgbImage image) {
  apply(op, amount, image);
  return image;
}

/// Hashes (FNV-1a of the bytes) of PIL's results for noise(7, 5, 3), noise(32, 32, 4) and gradient(24, 32), by the
/// calls of the published codes: Image.transform(AFFINE) with fillcolor (128, 128, 128), bicubic for shears; rotate()
/// of the RGBA image, composed with (128,) * 4; ImageEnhance.*.enhance(1 + amount); ImageOps.*.
struct Golden {
  ImageOp op;
  double amount;
  uint64_t hashes[3];
};
const Golden kGolden[] = {
    {ImageOp::kShearX, 0.1, {0xd9f99a6553346ec5u, 0xccf0f52699f3cd62u, 0x21419126ef3579f3u}},
    {ImageOp::kShearX, -0.3, {0xe576e103c76c6d29u, 0x045c756281067f6au, 0x8035fa198c43e2ddu}},
    {ImageOp::kShearY, 0.2, {0x55831341aaf24159u, 0xf72acd24b7dabd29u, 0x673fa3ad3d961015u}},
    {ImageOp::kShearY, -0.0375, {0x03fb33ce75121892u, 0xb1afb2e736b69e0du, 0x388f345e58aad331u}},
    {ImageOp::kTranslateX, 0.45, {0x8c28c066d7ead102u, 0xf55cdd6f9362be0du, 0x9d3d63a2e9657e5bu}},
    {ImageOp::kTranslateX, -0.1, {0x3d4dcc9f4ea954c3u, 0xd94e0bfdb706568au, 0x8bb6168f3224f923u}},
    {ImageOp::kTranslateY, 0.05, {0x3d4dcc9f4ea954c3u, 0xcd6bc2aef686669fu, 0x321e94beb8afd185u}},
    {ImageOp::kTranslateY, -0.3, {0x159e5707c16125bbu, 0xa140fd05d7e72c23u, 0xa02a7e2d2052b481u}},
    {ImageOp::kRotate, 30, {0x313d5e087db0ac95u, 0xcb967518c012e3dcu, 0x47b931898d482017u}},
    {ImageOp::kRotate, -10, {0x33ad488de8006bf1u, 0x52aeae4829743264u, 0x769d322c12a42873u}},
    {ImageOp::kRotate, 3.25, {0x3d4dcc9f4ea954c3u, 0xbd340b7558b311e3u, 0x59a34ac32f7498a5u}},
    {ImageOp::kColor, 0.9, {0x4681e040ece425c7u, 0x35e132121a95d8e9u, 0x8f67b61febfd961au}},
    {ImageOp::kColor, -0.9, {0x21f700657d3f5f32u, 0xe862d6296bcd4f5au, 0x96c95b961c4f3aeau}},
    {ImageOp::kContrast, 0.5, {0x097cffb5578bdb17u, 0x46a70748828badc0u, 0xa104d359b7a2361bu}},
    {ImageOp::kContrast, -0.9, {0x58f5a305a6cee223u, 0xa0580250355097a4u, 0x5f22dced23ae5b5cu}},
    {ImageOp::kSharpness, 0.9, {0xae92b84043680563u, 0xa0adac2119b1f57fu, 0x8ae5f57054834b21u}},
    {ImageOp::kSharpness, -0.9, {0x81fb9638e847706au, 0x2c072e0f562ab330u, 0x8ae5f57054834b21u}},
    {ImageOp::kBrightness, 0.3, {0x32d7306179fc3ae0u, 0x9f995a71049dfc5fu, 0x36a13c0af3138dbcu}},
    {ImageOp::kBrightness, -0.7, {0x0b7e4dddee059fb8u, 0xa55e1b3b7e0efe1fu, 0xfbb199b5f1270e98u}},
    {ImageOp::kAutoContrast, 0, {0x57df61e7811907c9u, 0x0a96a7f5e9872ddbu, 0xd13ad5c6ddfc395du}},
    {ImageOp::kEqualize, 0, {0x3d4dcc9f4ea954c3u, 0x198041a2eb615babu, 0xa52610d2ef6098dcu}},
    {ImageOp::kPosterize, 4, {0xeefedcd3675a360fu, 0xff4411d81ee9fd35u, 0xe59d9e8f95bd31e5u}},
    {ImageOp::kPosterize, 7, {0x9845475cfb53d3bdu, 0xd38c98217561e6a3u, 0xe2cd888d79a711f5u}},
    {ImageOp::kSolarize, 256, {0x3d4dcc9f4ea954c3u, 0x0a96a7f5e9872ddbu, 0x8ae5f57054834b21u}},
    {ImageOp::kSolarize, 85.25, {0x2c041a8c0b302700u, 0x26cd8ef4cd034198u, 0x5c12868972ed75dau}},
    {ImageOp::kInvert, 0, {0x91743359323b2b2eu, 0xaf50cf53325bff7fu, 0x326b2a626613c781u}},
};

TEST(ImageOps, AreWhatPilMakesBitForBit) {
  for (const Golden& g : kGolden) {
    SCOPED_TRACE(testing::Message() << "op " << int(g.op) << " by " << g.amount);
    EXPECT_EQ(hash(after(g.op, g.amount, noise(7, 5, 3))), g.hashes[0]);
    EXPECT_EQ(hash(after(g.op, g.amount, noise(32, 32, 4))), g.hashes[1]);
    EXPECT_EQ(hash(after(g.op, g.amount, gradient(24, 32))), g.hashes[2]);
  }
  // The first three rows of noise(7, 5, 3), sheared by 0.3, as PIL printed them: for a look when a hash differs.
  const RgbImage sheared = after(ImageOp::kShearX, 0.3, noise(7, 5, 3));
  EXPECT_THAT(std::vector<int>(sheared.pixels.begin(), sheared.pixels.begin() + 45),
              testing::ElementsAre(81, 133, 226, 208, 94, 185, 164, 87, 14, 188, 55, 219, 133, 205, 174, 161, 55, 122,
                                   39, 89, 136, 56, 121, 144, 160, 190, 234, 252, 235, 255, 44, 49, 81, 53, 137, 152, 2,
                                   124, 186, 50, 117, 220, 128, 128, 128));
}

/// Their definitions, where those are a line each.
TEST(ImageOps, MeanWhatTheirNamesSay) {
  const RgbImage image = noise(9, 4, 8);
  const auto value = [&](ImageOp op, double amount, size_t i) { return int(after(op, amount, image).pixels[i]); };
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    const int v = image.pixels[i];
    EXPECT_EQ(value(ImageOp::kInvert, 0, i), 255 - v);
    EXPECT_EQ(value(ImageOp::kPosterize, 5, i), v / 8 * 8);
    EXPECT_EQ(value(ImageOp::kSolarize, 100, i), v < 100 ? v : 255 - v);
  }
  const RgbImage right = after(ImageOp::kTranslateX, -0.5, image), down = after(ImageOp::kTranslateY, -1.0 / 3, image);
  for (int64_t y = 0; y < 9; ++y)
    for (int64_t x = 0; x < 4; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const auto at = [&](const RgbImage& of, int64_t row, int64_t column) {
          return row < 0 || column < 0 ? 128 : int(of.pixels[size_t((row * 4 + column) * 3 + c)]);
        };
        EXPECT_EQ(at(right, y, x), at(image, y, x - 2));
        EXPECT_EQ(at(down, y, x), at(image, y - 3, x));
      }
  const RgbImage quarter = after(ImageOp::kRotate, 90, noise(5, 5, 1)), square = noise(5, 5, 1);
  for (int64_t y = 0; y < 5; ++y)
    for (int64_t x = 0; x < 5; ++x)  // counter-clockwise: the right column becomes the top row
      EXPECT_EQ(quarter.pixels[size_t((y * 5 + x) * 3)], square.pixels[size_t((x * 5 + 4 - y) * 3)]);
}

TEST(ImageOps, AnAmountOfNothingChangesNothing) {
  const RgbImage image = noise(8, 11, 5);
  for (const ImageOp op :
       {ImageOp::kShearX, ImageOp::kShearY, ImageOp::kTranslateX, ImageOp::kTranslateY, ImageOp::kRotate,
        ImageOp::kColor, ImageOp::kContrast, ImageOp::kSharpness, ImageOp::kBrightness})
    EXPECT_EQ(after(op, 0, image).pixels, image.pixels) << int(op);
  EXPECT_EQ(after(ImageOp::kPosterize, 8, image).pixels, image.pixels);
  EXPECT_EQ(after(ImageOp::kSolarize, 256, image).pixels, image.pixels);
}

TEST(ImageOps, TakeImagesOfOnePixelAndOfOneColour) {
  for (int op = 0; op <= int(ImageOp::kInvert); ++op)
    for (const RgbImage& image : {RgbImage{1, 1, {3, 200, 7}}, RgbImage{2, 3, std::vector<uint8_t>(18, 77)}})
      EXPECT_EQ(after(ImageOp(op), 1, image).pixels.size(), image.pixels.size());
  EXPECT_EQ(after(ImageOp::kAutoContrast, 0, {1, 1, {3, 200, 7}}).pixels, (std::vector<uint8_t>{3, 200, 7}));
}

TEST(AutoAugment, TablesHaveTheirPublishedParts) {
  EXPECT_TRUE(policy(AutoAugment::kNone).empty());
  for (const AutoAugment which : {AutoAugment::kCifar, AutoAugment::kSvhn}) {
    ASSERT_EQ(policy(which).size(), 25u);
    for (const SubPolicy& part : policy(which))
      for (const PolicyStep& s : part) {
        EXPECT_TRUE(s.probability >= 0 && s.probability < 1);
        EXPECT_TRUE(s.magnitude >= 0 && s.magnitude <= 9);
      }
  }
  const PolicyStep& rotate = policy(AutoAugment::kCifar)[1][0];
  EXPECT_EQ(rotate.op, ImageOp::kRotate);
  EXPECT_EQ(rotate.probability, 0.7f);
  EXPECT_EQ(rotate.magnitude, 2);
  const PolicyStep& last = policy(AutoAugment::kSvhn)[24][1];
  EXPECT_EQ(last.op, ImageOp::kInvert);
  EXPECT_EQ(last.probability, 0.1f);
}

TEST(AutoAugment, MagnitudesReachTheirPublishedEnds) {
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kShearX, 9, -1), -0.3);
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kTranslateY, 9, 1), 150.0 / 331);
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kRotate, 3, 1), 10);
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kBrightness, 9, -1), -0.9);
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kSolarize, 0, -1), 256);
  EXPECT_DOUBLE_EQ(amount_of(ImageOp::kSolarize, 9, 1), 0);
  std::vector<double> bits;
  for (int m = 0; m < 10; ++m) bits.push_back(amount_of(ImageOp::kPosterize, m, 1));
  EXPECT_THAT(bits, testing::ElementsAre(8, 8, 7, 7, 6, 6, 5, 5, 4, 4));
}

TEST(AutoAugment, DrawsTakeEachPartAlikeAndEachStepByItsProbability) {
  constexpr int kImages = 25000;
  std::map<int, int> counts, backwards;
  int changes = 0;
  for (int64_t image = 0; image < kImages; ++image) {
    const PolicyDraw d = draw_policy(AutoAugment::kCifar, true, {Rng{.seed = 1}, "test", image, 0});
    for (int i = 0; i < d.count; ++i) {
      ++counts[int(d.changes[size_t(i)].op)];
      backwards[int(d.changes[size_t(i)].op)] += d.changes[size_t(i)].amount < 0;
    }
    changes += d.count;
  }
  std::map<int, double> expected;
  double sum = 0;
  for (const SubPolicy& part : policy(AutoAugment::kCifar))
    for (const PolicyStep& s : part) {
      expected[int(s.op)] += double(s.probability) / 25;
      sum += double(s.probability) / 25;
    }
  EXPECT_NEAR(changes / double(kImages), sum, 0.02);
  for (const auto& [op, share] : expected) EXPECT_NEAR(counts[op] / double(kImages), share, 0.01) << op;
  for (const ImageOp op : {ImageOp::kRotate, ImageOp::kTranslateY, ImageOp::kSharpness, ImageOp::kShearY})
    EXPECT_NEAR(backwards[int(op)] / double(counts[int(op)]), 0.5, 0.06) << int(op);
  EXPECT_EQ(backwards[int(ImageOp::kSolarize)] + backwards[int(ImageOp::kPosterize)], 0);
}

TEST(AutoAugment, RotationsMayGoOneWayOnly) {
  int rotations = 0;
  for (int64_t image = 0; image < 5000; ++image) {
    const PolicyDraw d = draw_policy(AutoAugment::kSvhn, false, {Rng{.seed = 1}, "test", image, 0});
    for (int i = 0; i < d.count; ++i)
      if (d.changes[size_t(i)].op == ImageOp::kRotate) {
        ++rotations;
        EXPECT_GT(d.changes[size_t(i)].amount, 0);
      }
  }
  EXPECT_GT(rotations, 500);
}

TEST(Draws, AreUniformAndBetaHasItsMoments) {
  for (const double shape : {0.2, 0.5, 1.0, 2.0, 8.0}) {
    double sum = 0, squares = 0;
    constexpr int kCount = 20000;
    for (int64_t image = 0; image < kCount; ++image) {
      const double b = Draws(Rng{.seed = 3}, "beta", image, 1).beta(shape);
      ASSERT_TRUE(b >= 0 && b <= 1);
      sum += b;
      squares += (b - 0.5) * (b - 0.5);
    }
    EXPECT_NEAR(sum / kCount, 0.5, 0.01) << shape;
    EXPECT_NEAR(squares / kCount, 1 / (4 * (2 * shape + 1)), 0.004) << shape;
  }
  Draws d(Rng{.seed = 3}, "words", 5, 2), again = d, other(Rng{.seed = 3}, "others", 5, 2);
  std::vector<uint32_t> words, same, others;
  for (int i = 0; i < 9; ++i) {
    words.push_back(d.word());
    same.push_back(again.word());
    others.push_back(other.word());
  }
  EXPECT_EQ(words, same);
  EXPECT_NE(words, others);
  EXPECT_NE(words[0], words[4]);  // a block of its own
}

}  // namespace
}  // namespace sluice::image_ops_test
