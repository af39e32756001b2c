// Images that are decoded as they are fed: windows, middles, mixing, and files that are damaged.
#include <gmock/gmock.h>

#include "data/image_folder.h"
#include "data/loader.h"
#include "data/resize.h"
#include "tests/data/image_fixtures.h"
#include "tests/support/support.h"

namespace sluice::folder_images_test {
namespace {

using test::TempDir;
namespace fs = std::filesystem;

/// Three classes of two images each, of sizes of their own.
void write_part(const fs::path& part, uint32_t seed) {
  for (const char* name : {"n01", "n02", "n03"}) {
    fs::create_directories(part / name);
    for (int i = 0; i < 2; ++i, ++seed)
      test::write_png(part / name / ("x" + std::to_string(i) + ".png"), test::noise(9 + seed % 5, 20 - seed % 3, seed));
  }
}

std::vector<float> fed(Loader& loader, int64_t mb, const std::string& port) {
  const Batch b = loader.fetch(mb);
  Stream reader(Device{});
  b.claim(reader);
  const Tensor& t = b.at(port);
  if (t.dtype() == DType::kF32) return t.to_vector<float>(reader);
  const std::vector<int32_t> ints = t.to_vector<int32_t>(reader);
  return {ints.begin(), ints.end()};
}

std::vector<double> normalised(const RgbImage& image) {
  const double mean[] = {0.485, 0.456, 0.406}, stddev[] = {0.229, 0.224, 0.225};
  std::vector<double> out;
  for (size_t i = 0; i < image.pixels.size(); ++i)
    out.push_back((image.pixels[i] / 255.0 - mean[i % 3]) / stddev[i % 3]);
  return out;
}

struct FolderImagesTest : testing::Test {
  void SetUp() override {
    write_part(dir / "train", 1);
    write_part(dir / "val", 50);
  }
  RgbImage image(const FolderImages& d, float i) const { return read_image(d.files.root / d.files.paths[size_t(i)]); }
  TempDir dir;
};

TEST_F(FolderImagesTest, EvaluationTakesTheMiddleOfTheResizedImage) {
  const auto d = std::make_shared<FolderImages>(load_imagenet(dir.path(), 7).test);
  EXPECT_EQ(d->class_names, (std::vector<std::string>{"n01", "n02", "n03"}));
  EXPECT_EQ(d->shorter, 8);
  Loader loader(d, {.batch = 6, .training = false, .readers = {2}});
  const std::vector<float> images = fed(loader, 0, "images");
  EXPECT_EQ(fed(loader, 0, "labels").size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    const auto at = images.begin() + std::ptrdiff_t(i * 147);
    test::expect_close({at, at + 147}, normalised(fit_square(image(*d, float(i)), 8, 7)), 1e-6);
  }
}

TEST_F(FolderImagesTest, TrainingCutsWindowsOutOfWholeImages) {
  const auto d = std::make_shared<FolderImages>(load_imagenet(dir.path(), 7).train);
  const LoaderOptions options{.batch = 6, .seed = 4, .augmentation = {.any_area = true}, .readers = {2}};
  Loader loader(d, options);
  const std::vector<float> images = fed(loader, 0, "images"), labels = fed(loader, 0, "labels");
  const std::vector<int32_t> order = epoch_order(6, 4, 0);
  for (size_t k = 0; k < 6; ++k) {
    EXPECT_EQ(labels[k], float(order[k] / 2));
    const RgbImage whole = image(*d, float(order[k]));
    const Window w = draw_window(whole.height, whole.width, {Rng{.seed = 4}, "image.area", order[k], 0});
    RgbImage cut{w.height, w.width, {}};
    for (int64_t y = 0; y < w.height; ++y)
      for (int64_t i = 0; i < w.width * 3; ++i)
        cut.pixels.push_back(whole.pixels[size_t(((w.top + y) * whole.width + w.left) * 3 + i)]);
    const auto at = images.begin() + std::ptrdiff_t(k * 147);
    test::expect_close({at, at + 147}, normalised(resize(cut, {7, 0, 7}, {7, 0, 7})), 1e-6);
  }
}

TEST_F(FolderImagesTest, TheyCanBeMixed) {
  const auto d = std::make_shared<FolderImages>(load_imagenet(dir.path(), 7).train);
  Loader loader(d, {.batch = 3, .seed = 4, .augmentation = {.mixing = {.how = Mixing::kMixUp}}, .readers = {2}});
  EXPECT_EQ(fed(loader, 0, "labels2").size(), 3u);
  EXPECT_EQ(fed(loader, 0, "share").size(), 3u);
}

TEST_F(FolderImagesTest, AFileThatIsDamagedEndsTheFeedWithItsPath) {
  const auto d = std::make_shared<FolderImages>(load_imagenet(dir.path(), 7).test);
  test::write_file(dir / "val/n02/x1.png", {1, 2, 3});
  Loader loader(d, {.batch = 6, .training = false, .readers = {2}});
  EXPECT_THAT([&] { fed(loader, 0, "images"); },
              testing::Throws<Error>(testing::Property(&Error::what, testing::HasSubstr("n02/x1.png"))));
}

TEST_F(FolderImagesTest, FoldersMustHoldTheSameClasses) {
  fs::remove_all(dir / "val/n03");
  EXPECT_THROW(load_imagenet(dir.path()), DataError);
  EXPECT_THROW(load_imagenet(dir / "nowhere"), DataError);
  FolderImages d = load_imagenet((write_part(dir / "val", 9), dir.path()), 7).train;
  d.shorter = 6;
  EXPECT_THROW(d.expect_sound("test"), DataError);
  d.shorter = 8;
  EXPECT_NO_THROW(d.expect_sound("test"));
  d.labels.pop_back();
  EXPECT_THROW(d.expect_sound("test"), DataError);
}

}  // namespace
}  // namespace sluice::folder_images_test
