// PNG and JPEG files of every kind become RGB; each way in which one can be wrong is one clear line.
#include "data/image_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/data/image_fixtures.h"

namespace sluice::image_file_test {
namespace {

using test::gradient;
using test::noise;
using test::PngFile;
using test::TempDir;
using test::write_file;
using test::write_jpeg;
using test::write_png;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

void expect_data_error(const fs::path& path, const std::string& what) {
  EXPECT_THAT([&] { read_image(path); }, ThrowsMessage<DataError>(AllOf(HasSubstr(path.string()), HasSubstr(what),
                                                                        HasSubstr("expected"), Not(HasSubstr("\n")))));
}

void expect_image(const RgbImage& got, const RgbImage& expected, int tolerance) {
  ASSERT_EQ(got.height, expected.height);
  ASSERT_EQ(got.width, expected.width);
  ASSERT_EQ(got.pixels.size(), expected.pixels.size());
  for (size_t i = 0; i < got.pixels.size(); ++i)
    ASSERT_NEAR(got.pixels[i], expected.pixels[i], tolerance) << "value " << i;
}

TEST(ImageFile, APngIsReadWithoutLoss) {
  TempDir dir;
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 13}, {64, 64}}) {
    const RgbImage image = noise(height, width, 3);
    PngFile file{.height = height, .width = width, .rows = image.pixels};
    for (const int interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7}) {
      file.interlace = interlace;
      write_png(dir / "image.png", file);
      expect_image(read_image(dir / "image.png"), image, 0);
    }
  }
}

TEST(ImageFile, EveryKindOfPngBecomesRgb) {
  TempDir dir;
  const auto read = [&](const PngFile& file) {
    write_png(dir / "image.png", file);
    return read_image(dir / "image.png").pixels;
  };
  EXPECT_EQ(read({.height = 1, .width = 2, .rows = {10, 250}, .color_type = PNG_COLOR_TYPE_GRAY}),
            (Bytes{10, 10, 10, 250, 250, 250}));
  EXPECT_EQ(read({.height = 1, .width = 3, .rows = {0b10100000}, .color_type = PNG_COLOR_TYPE_GRAY, .bits = 1}),
            (Bytes{255, 255, 255, 0, 0, 0, 255, 255, 255}));
  EXPECT_EQ(read({.height = 1, .width = 2, .rows = {7, 0, 9, 128}, .color_type = PNG_COLOR_TYPE_GRAY_ALPHA}),
            (Bytes{7, 7, 7, 9, 9, 9}));
  EXPECT_EQ(read({.height = 1, .width = 2, .rows = {1, 2, 3, 0, 4, 5, 6, 128}, .color_type = PNG_COLOR_TYPE_RGBA}),
            (Bytes{1, 2, 3, 4, 5, 6}));  // alpha is dropped, not blended
  EXPECT_EQ(read({.height = 1, .width = 1, .rows = {1, 255, 2, 0, 3, 129}, .bits = 16}), (Bytes{1, 2, 3}));
  EXPECT_EQ(read({.height = 1,
                  .width = 2,
                  .rows = {1, 0},
                  .color_type = PNG_COLOR_TYPE_PALETTE,
                  .palette = {{9, 8, 7}, {1, 2, 3}},
                  .transparency = {0, 255}}),
            (Bytes{1, 2, 3, 9, 8, 7}));
}

TEST(ImageFile, AJpegIsReadAsItWasUpToItsRounding) {
  TempDir dir;
  for (const bool progressive : {false, true}) {
    const RgbImage image = gradient(40, 64);
    write_jpeg(dir / "image.JPEG", image, progressive);
    expect_image(read_image(dir / "image.JPEG"), image, 6);
  }
}

TEST(ImageFile, AGreyJpegBecomesRgb) {
  TempDir dir;
  Bytes grey;
  RgbImage expected{.height = 16, .width = 24, .pixels = {}};
  for (int i = 0; i < 16 * 24; ++i) {
    grey.push_back(uint8_t(20 + i / 2));
    expected.pixels.insert(expected.pixels.end(), 3, grey.back());
  }
  write_jpeg(dir / "grey.jpg", 16, 24, grey);
  const RgbImage image = read_image(dir / "grey.jpg");
  expect_image(image, expected, 4);
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    ASSERT_EQ(image.pixels[i], image.pixels[i + 1]);
    ASSERT_EQ(image.pixels[i], image.pixels[i + 2]);
  }
}

TEST(ImageFile, ACmykJpegIsTakenAsInvertedInk) {
  TempDir dir;
  Bytes inks;
  for (int i = 0; i < 64; ++i) inks.insert(inks.end(), {255, 128, 0, 200});
  write_jpeg(dir / "inks.jpg", 8, 8, inks);
  RgbImage expected{.height = 8, .width = 8, .pixels = {}};
  for (int i = 0; i < 64; ++i) expected.pixels.insert(expected.pixels.end(), {200, 100, 0});
  expect_image(read_image(dir / "inks.jpg"), expected, 3);
}

TEST(ImageFile, TheContentDecidesNotTheName) {
  TempDir dir;
  write_png(dir / "is_png.JPEG", gradient(5, 6));
  write_jpeg(dir / "is_jpeg.png", gradient(5, 6));
  expect_image(read_image(dir / "is_png.JPEG"), gradient(5, 6), 0);
  EXPECT_EQ(read_image(dir / "is_jpeg.png").width, 6);
}

TEST(ImageFile, RefusesWhatIsNoImage) {
  TempDir dir;
  expect_data_error(dir / "none.png", "no such file");
  expect_data_error(dir.path(), "no such file");
  write_file(dir / "empty.png", {});
  expect_data_error(dir / "empty.png", "neither PNG nor JPEG in its 0 bytes");
  write_file(dir / "image.bmp", {'B', 'M', 1, 2, 3, 4, 5, 6, 7, 8});
  expect_data_error(dir / "image.bmp", "neither PNG nor JPEG in its 10 bytes");
}

TEST(ImageFile, RefusesAFileCutAnywhere) {
  TempDir dir;
  write_png(dir / "whole.png", noise(20, 20, 1));
  write_jpeg(dir / "whole.jpg", noise(20, 20, 1));
  for (const char* name : {"whole.png", "whole.jpg"}) {
    const Bytes whole = test::read_file(dir / name);
    for (size_t length = 8; length + 2 < whole.size(); length += 1 + whole.size() / 40) {
      SCOPED_TRACE(testing::Message() << name << " cut to " << length << " of " << whole.size());
      write_file(dir / "cut", Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(length)));
      expect_data_error(dir / "cut", "damaged");
    }
  }
}

TEST(ImageFile, RefusesDamagedPixels) {
  TempDir dir;
  write_png(dir / "image.png", noise(20, 20, 1));
  Bytes bytes = test::read_file(dir / "image.png");
  bytes[bytes.size() / 2] ^= 0x10;
  write_file(dir / "image.png", bytes);
  expect_data_error(dir / "image.png", "damaged PNG");
  write_jpeg(dir / "image.jpg", noise(40, 40, 1));
  bytes = test::read_file(dir / "image.jpg");
  std::fill(bytes.begin() + std::ptrdiff_t(bytes.size() / 2), bytes.end() - 8, uint8_t(0xFE));
  bytes[bytes.size() / 2] = 0xFF;  // a marker where pixels should be
  bytes[bytes.size() / 2 + 1] = 0xD9;
  write_file(dir / "image.jpg", bytes);
  expect_data_error(dir / "image.jpg", "damaged JPEG");
}

TEST(ImageFile, BytesBehindTheImageDoNoHarm) {
  TempDir dir;
  for (const char* name : {"image.png", "image.jpg"}) {
    if (std::string(name) == "image.png")
      write_png(dir / name, gradient(8, 8));
    else
      write_jpeg(dir / name, gradient(8, 8));
    const RgbImage before = read_image(dir / name);
    Bytes bytes = test::read_file(dir / name);
    bytes.insert(bytes.end(), 100, 7);
    write_file(dir / name, bytes);
    expect_image(read_image(dir / name), before, 0);
  }
}

TEST(ImageFile, AllocatesNothingOnTheWordOfAHugeHeader) {
  TempDir dir;
  write_jpeg(dir / "huge.jpg", gradient(8, 8));
  Bytes bytes = test::read_file(dir / "huge.jpg");
  for (size_t i = 0; i + 8 < bytes.size(); ++i)
    if (bytes[i] == 0xFF && bytes[i + 1] == 0xC0) {  // start of frame: length, bits, height, width
      std::fill_n(bytes.begin() + std::ptrdiff_t(i) + 5, 4, uint8_t(0xFE));
      break;
    }
  write_file(dir / "huge.jpg", bytes);
  expect_data_error(dir / "huge.jpg", "an image of 65278x65278 pixels");
}

}  // namespace
}  // namespace sluice::image_file_test
