// Folders of classes, tiny-ImageNet in both layouts, the cache of decoded images, and every way to be wrong.
#include "data/image_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "data/resize.h"
#include "tests/data/image_fixtures.h"

namespace sluice::image_folder_test {
namespace {

using test::gradient;
using test::noise;
using test::TempDir;
using test::write_file;
using test::write_jpeg;
using test::write_png;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

template <class F>
void expect_data_error(F&& f, const fs::path& path, const std::string& what) {
  EXPECT_THAT(f, ThrowsMessage<DataError>(
                     AllOf(HasSubstr(path.string()), HasSubstr(what), HasSubstr("expected"), Not(HasSubstr("\n")))));
}

void write_text(const fs::path& path, const std::string& text) { write_file(path, {text.begin(), text.end()}); }

fs::path made(const fs::path& dir) {
  fs::create_directories(dir);
  return dir;
}

const ImageReading kReading{.side = 8, .mean = {0.5f, 0.5f, 0.5f}, .stddev = {0.2f, 0.2f, 0.2f}};

/// Images of 8x8 and of other sizes, PNG and JPEG, in two classes, one of them nested.
void write_classes(const fs::path& root) {
  write_png(made(root / "cat") / "b.PNG", noise(8, 8, 1));
  write_png(root / "cat" / "a.png", noise(16, 24, 2));
  write_jpeg(made(root / "ant" / "images") / "z.JPEG", gradient(8, 8));
  write_jpeg(root / "ant" / "y.jpeg", gradient(8, 8, 30));
  write_text(root / "ant" / "boxes.txt", "no image");
  write_text(root / "readme.txt", "no class");
}

/// Pixels of image i of a dataset.
std::vector<uint8_t> pixels(const ImageDataset& d, int64_t i) {
  const int64_t n = d.image.numel();
  return {d.pixels.begin() + i * n, d.pixels.begin() + (i + 1) * n};
}

TEST(ImageFolder, ListsClassesAndFilesInOrder) {
  TempDir dir;
  write_classes(dir.path());
  const ImageFiles files = list_class_folders(dir.path());
  EXPECT_THAT(files.class_names, ElementsAre("ant", "cat"));
  EXPECT_THAT(files.paths, ElementsAre("ant/images/z.JPEG", "ant/y.jpeg", "cat/a.png", "cat/b.PNG"));
  EXPECT_THAT(files.labels, ElementsAre(0, 0, 1, 1));
}

TEST(ImageFolder, DecodesAndFitsEveryImage) {
  TempDir dir;
  write_classes(dir.path());
  const ImageDataset d = decode_images(list_class_folders(dir.path()), kReading);
  EXPECT_EQ(d.image, (Shape{8, 8, 3}));
  EXPECT_THAT(d.labels, ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(pixels(d, 0), read_image(dir / "ant/images/z.JPEG").pixels);
  EXPECT_EQ(pixels(d, 2), fit_square(noise(16, 24, 2), 8).pixels);
  EXPECT_EQ(pixels(d, 3), noise(8, 8, 1).pixels);
  EXPECT_EQ(d.mean, kReading.mean);
}

TEST(ImageFolder, RefusesFoldersThatHoldNoClasses) {
  TempDir dir;
  expect_data_error([&] { list_class_folders(dir / "none"); }, dir / "none", "no such folder");
  expect_data_error([&] { list_class_folders(dir.path()); }, dir.path(), "no folders");
  write_classes(dir.path());
  write_text(made(dir / "bee") / "notes.txt", "no image");
  expect_data_error([&] { list_class_folders(dir.path()); }, dir / "bee", "a class without images");
}

TEST(ImageFolder, ABrokenFileIsNamed) {
  TempDir dir;
  write_classes(dir.path());
  const std::vector<uint8_t> whole = test::read_file(dir / "cat/b.PNG");
  write_file(dir / "cat/b.PNG", {whole.begin(), whole.begin() + 60});
  expect_data_error([&] { decode_images(list_class_folders(dir.path()), kReading); }, dir / "cat/b.PNG", "damaged PNG");
  write_text(dir / "cat/b.PNG", "BM, a bitmap");
  expect_data_error([&] { decode_images(list_class_folders(dir.path()), kReading); }, dir / "cat/b.PNG",
                    "neither PNG nor JPEG");
  fs::remove(dir / "cat/b.PNG");
  write_text(dir / "cat/c.tiff", "II*");  // of an ImageFolder, but not of a format that is read here
  expect_data_error([&] { decode_images(list_class_folders(dir.path()), kReading); }, dir / "cat/c.tiff",
                    "neither PNG nor JPEG");
  EXPECT_THROW(decode_images(list_class_folders(dir.path()), {.side = 0}), ConfigError);
}

// ---- the cache ----

struct Cached {
  Cached() {
    write_classes(root);
    reading.cache = dir / "caches" / "images";
  }
  ImageDataset load() const { return decode_images(list_class_folders(root), reading); }
  /// Makes the file's content useless without anybody being able to tell from its size and time.
  void spoil(const std::string& name) const {
    const auto time = fs::last_write_time(root / name);
    write_file(root / name, std::vector<uint8_t>(size_t(fs::file_size(root / name)), 0));
    fs::last_write_time(root / name, time);
  }

  TempDir dir;
  fs::path root = made(dir / "data");
  ImageReading reading = kReading;
};

TEST(ImageCache, ASecondStartDecodesNothing) {
  const Cached c;
  const ImageDataset first = c.load();
  for (const char* name : {"ant/images/z.JPEG", "ant/y.jpeg", "cat/a.png", "cat/b.PNG"}) c.spoil(name);
  const ImageDataset second = c.load();
  EXPECT_EQ(second.pixels, first.pixels);
  EXPECT_EQ(second.labels, first.labels);
  EXPECT_EQ(second.class_names, first.class_names);
  EXPECT_EQ(std::distance(fs::directory_iterator(c.dir / "caches"), {}), 1) << "only the cache is left";
}

TEST(ImageCache, OtherFilesOrAnotherSideAreDecoded) {
  Cached c;
  const ImageDataset first = c.load();
  write_png(c.root / "cat" / "b.PNG", noise(8, 8, 77));
  fs::last_write_time(c.root / "cat/b.PNG", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(pixels(c.load(), 3), noise(8, 8, 77).pixels);
  write_png(c.root / "cat" / "c.png", noise(8, 8, 5));
  const ImageDataset more = c.load();
  EXPECT_EQ(more.size(), 5);
  EXPECT_EQ(pixels(more, 4), noise(8, 8, 5).pixels);
  fs::rename(c.root / "cat" / "c.png", c.root / "ant" / "c.png");
  EXPECT_THAT(c.load().labels, ElementsAre(0, 0, 0, 1, 1));
  c.reading.side = 4;
  EXPECT_EQ(c.load().image, (Shape{4, 4, 3}));
}

TEST(ImageCache, ACutOrDamagedCacheIsMadeAnew) {
  const Cached c;
  const ImageDataset first = c.load();
  const std::vector<uint8_t> whole = test::read_file(c.reading.cache);
  for (const size_t length : {size_t(0), size_t(10), size_t(64), whole.size() - 1}) {
    write_file(c.reading.cache, {whole.begin(), whole.begin() + std::ptrdiff_t(length)});
    EXPECT_EQ(c.load().pixels, first.pixels);
    EXPECT_EQ(test::read_file(c.reading.cache), whole);
  }
  for (size_t at = 0; at < whole.size(); at += at < 80 ? 1 : 97) {
    std::vector<uint8_t> changed = whole;
    changed[at] ^= 1;
    write_file(c.reading.cache, changed);
    EXPECT_EQ(c.load().pixels, first.pixels) << "byte " << at;
  }
}

TEST(ImageCache, OneThatCannotBeWrittenIsNamed) {
  Cached c;
  write_text(c.dir / "file", "no folder");
  c.reading.cache = c.dir / "file" / "images";
  expect_data_error([&] { c.load(); }, c.reading.cache, "cannot be written");
}

// ---- tiny-ImageNet ----

const std::string kWnids[] = {"n01443537", "n01629819", "n02509815"};

/// Two training images a class, as published: 64x64, in images/, with a list of boxes.
void write_train(const fs::path& root) {
  for (int k = 0; k < 3; ++k) {
    const fs::path folder = root / "train" / kWnids[k];
    for (int i = 0; i < 2; ++i)
      write_jpeg(made(folder / "images") / (kWnids[k] + "_" + std::to_string(i) + ".JPEG"),
                 gradient(64, 64, 20 * k + i));
    write_text(folder / (kWnids[k] + "_boxes.txt"), kWnids[k] + "_0.JPEG\t0\t0\t63\t63\n");
  }
  write_text(root / "wnids.txt", kWnids[2] + "\n" + kWnids[0] + "\n" + kWnids[1] + "\n");
}

/// Image i is of class (2 i + 1) mod 3.
std::string annotation(int i) {
  return "val_" + std::to_string(i) + ".JPEG\t" + kWnids[(2 * i + 1) % 3] + "\t1\t2\t30\t40\n";
}
void write_flat_val(const fs::path& root) {
  std::string list;
  for (int i = 0; i < 4; ++i) {
    write_jpeg(made(root / "val" / "images") / ("val_" + std::to_string(i) + ".JPEG"), gradient(64, 64, 5 * i));
    list += annotation(i);
  }
  write_text(root / "val" / "val_annotations.txt", list);
}

TEST(TinyImagenet, ReadsTheLayoutAsPublished) {
  TempDir dir;
  const fs::path root = dir / "tiny-imagenet-200";
  write_train(root);
  write_flat_val(root);
  for (const fs::path& at : {dir.path(), root}) {
    const ImageSplit split = load_tiny_imagenet(at);
    EXPECT_THAT(split.train.class_names, ElementsAre(kWnids[0], kWnids[1], kWnids[2]));
    EXPECT_THAT(split.train.labels, ElementsAre(0, 0, 1, 1, 2, 2));
    EXPECT_EQ(split.train.image, (Shape{32, 32, 3}));
    EXPECT_THAT(split.test.labels, ElementsAre(1, 0, 2, 1));
    EXPECT_EQ(split.test.class_names, split.train.class_names);
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(pixels(split.test, i),
                fit_square(read_image(root / "val/images" / ("val_" + std::to_string(i) + ".JPEG")), 32).pixels);
    EXPECT_FLOAT_EQ(split.train.mean[0], 0.4802f);
    EXPECT_FLOAT_EQ(split.test.stddev[2], 0.2821f);
  }
  EXPECT_EQ(load_tiny_imagenet(root, {}, 64).train.image, (Shape{64, 64, 3}));
}

TEST(TinyImagenet, ReadsValInFoldersOfItsClasses) {
  TempDir dir;
  write_train(dir.path());
  for (int k = 2; k >= 0; --k) write_jpeg(made(dir / "val" / kWnids[k] / "images") / "v.JPEG", gradient(64, 64, k));
  write_text(dir / "val/val_annotations.txt", "left over\n");
  const ImageSplit split = load_tiny_imagenet(dir.path());
  EXPECT_THAT(split.test.labels, ElementsAre(0, 1, 2));
  EXPECT_EQ(split.test.class_names, split.train.class_names);
}

TEST(TinyImagenet, KeepsACacheForEachPart) {
  TempDir dir;
  write_train(dir.path());
  write_flat_val(dir.path());
  const ImageSplit first = load_tiny_imagenet(dir.path(), dir / "cache");
  EXPECT_TRUE(fs::is_regular_file(dir / "cache/tiny-imagenet-train-32.images"));
  EXPECT_TRUE(fs::is_regular_file(dir / "cache/tiny-imagenet-val-32.images"));
  const ImageSplit second = load_tiny_imagenet(dir.path(), dir / "cache");
  EXPECT_EQ(second.train.pixels, first.train.pixels);
  EXPECT_EQ(second.test.pixels, first.test.pixels);
}

TEST(TinyImagenet, RefusesWhatDoesNotBelongTogether) {
  TempDir dir;
  const auto load = [&] { load_tiny_imagenet(dir.path()); };
  expect_data_error(load, dir.path(), "not tiny-ImageNet's folder");
  write_train(dir.path());
  expect_data_error(load, dir.path(), "not tiny-ImageNet's folder");
  fs::create_directories(dir / "val");
  expect_data_error(load, dir / "val", "no folders");
  for (const char* name : {"n01443537", "n09999999"}) write_jpeg(made(dir / "val" / name) / "v.JPEG", gradient(8, 8));
  expect_data_error(load, dir / "val", "'n09999999', expected the 3 of training, 'n01629819'");
}

TEST(TinyImagenet, RefusesAnnotationsThatSayNothingUseful) {
  TempDir dir;
  write_train(dir.path());
  write_flat_val(dir.path());
  const fs::path list = dir / "val/val_annotations.txt";
  const auto refuses = [&](const std::string& text, const std::string& what) {
    write_text(list, text);
    expect_data_error([&] { load_tiny_imagenet(dir.path()); }, list, what);
  };
  refuses("", "no images");
  refuses(annotation(0) + "val_1.JPEG n01443537\n", "line 2 is 'val_1.JPEG n01443537'");
  refuses("\t" + kWnids[0] + "\n", "line 1 is");
  refuses("val_1.JPEG\t\t3\n", "line 1 is");
  refuses("\n" + annotation(0) + "val_1.JPEG\tn00000001\t0\t0\t1\t1\n", "line 3 has class 'n00000001'");
  refuses("val_9.JPEG\t" + kWnids[0] + "\n", "line 1 names 'val_9.JPEG'");
  write_text(list, "val_1.JPEG\t" + kWnids[2] + "\r\n\r\n");  // written on another system, without boxes
  EXPECT_THAT(load_tiny_imagenet(dir.path()).test.labels, ElementsAre(2));
}

}  // namespace
}  // namespace sluice::image_folder_test
