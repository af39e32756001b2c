// Readers of idx and CIFAR files: values, folders, and one clear line for every way in which a file can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "data/cifar.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "tests/support/temp_dir.h"

namespace sluice::readers_test {
namespace {

using test::TempDir;
using test::write_file;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

void append_u32(Bytes& b, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) b.push_back(uint8_t(v >> shift));
}

/// An idx file of unsigned bytes; element i is i * 7 mod `modulus`.
Bytes idx_bytes(const std::vector<uint32_t>& dims, int modulus) {
  Bytes b;
  append_u32(b, 0x0800u | uint32_t(dims.size()));
  uint32_t count = 1;
  for (uint32_t d : dims) {
    append_u32(b, d);
    count *= d;
  }
  for (uint32_t i = 0; i < count; ++i) b.push_back(uint8_t(i * 7 % uint32_t(modulus)));
  return b;
}

void write_gz(const fs::path& path, const Bytes& bytes) {
  gzFile out = gzopen(path.c_str(), "wb");
  ASSERT_NE(out, nullptr);
  EXPECT_EQ(gzwrite(out, bytes.data(), unsigned(bytes.size())), int(bytes.size()));
  EXPECT_EQ(gzclose(out), Z_OK);
}

template <class F>
void expect_data_error(F&& f, const fs::path& path, const std::string& what) {
  EXPECT_THAT(f, ThrowsMessage<DataError>(
                     AllOf(HasSubstr(path.string()), HasSubstr(what), HasSubstr("expected"), Not(HasSubstr("\n")))));
}

void write_fashion(const TempDir& dir, const std::string& part, uint32_t count) {
  write_gz(dir / (part + "-images-idx3-ubyte.gz"), idx_bytes({count, 28, 28}, 256));
  write_file(dir / (part + "-labels-idx1-ubyte"), idx_bytes({count}, 10));
}

TEST(Idx, ReadsPlainAndGzippedFiles) {
  TempDir dir;
  const Bytes bytes = idx_bytes({3, 2, 5}, 251);
  write_file(dir / "plain", bytes);
  write_gz(dir / "packed.gz", bytes);
  for (const char* name : {"plain", "packed"}) {
    const IdxArray a = read_idx(dir / name, 3);
    EXPECT_EQ(a.dims, (std::vector<int64_t>{3, 2, 5}));
    EXPECT_EQ(a.bytes, Bytes(bytes.begin() + 16, bytes.end()));
  }
}

TEST(Idx, RefusesAMissingFile) {
  TempDir dir;
  expect_data_error([&] { read_idx(dir / "none", 1); }, dir / "none", "no such file");
}

TEST(Idx, RefusesAWrongMagicNumber) {
  TempDir dir;
  write_file(dir / "labels", idx_bytes({4}, 10));
  expect_data_error([&] { read_idx(dir / "labels", 3); }, dir / "labels",
                    "magic number is 0x00000801, expected 0x00000803");
  write_file(dir / "text", {'h', 'e', 'l', 'l', 'o'});
  expect_data_error([&] { read_idx(dir / "text", 1); }, dir / "text", "magic number is 0x68656c6c");
}

TEST(Idx, RefusesAFileCutAnywhere) {
  TempDir dir;
  const Bytes whole = idx_bytes({3, 4, 5}, 256);
  for (size_t length : {size_t(0), size_t(3), size_t(4), size_t(15), size_t(16), size_t(20), whole.size() - 1}) {
    SCOPED_TRACE(length);
    write_file(dir / "cut", Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(length)));
    expect_data_error([&] { read_idx(dir / "cut", 3); }, dir / "cut", "ends after");
  }
}

TEST(Idx, RefusesAGzipStreamCutOrChanged) {
  TempDir dir;
  write_gz(dir / "whole.gz", idx_bytes({100, 28, 28}, 251));
  const Bytes packed = test::read_file(dir / "whole.gz");
  write_file(dir / "cut.gz", Bytes(packed.begin(), packed.begin() + std::ptrdiff_t(packed.size() / 2)));
  EXPECT_THROW(read_idx(dir / "cut", 3), DataError);
  Bytes changed = packed;
  changed[packed.size() - 6] ^= 0x55;  // the checksum at the end
  write_file(dir / "changed.gz", changed);
  expect_data_error([&] { read_idx(dir / "changed", 3); }, dir / "changed.gz", "broken gzip stream");
}

TEST(Idx, RefusesTrailingBytesAndHugeHeaders) {
  TempDir dir;
  Bytes longer = idx_bytes({4}, 10);
  longer.push_back(0);
  write_file(dir / "longer", longer);
  EXPECT_THAT([&] { read_idx(dir / "longer", 1); }, ThrowsMessage<DataError>(HasSubstr("goes on after the data")));
  Bytes huge;
  append_u32(huge, 0x0803u);
  for (int i = 0; i < 3; ++i) append_u32(huge, 0xffffffffu);
  write_file(dir / "huge", huge);
  expect_data_error([&] { read_idx(dir / "huge", 3); }, dir / "huge", "header announces");
}

TEST(FashionMnist, PadsImagesIntoTheMiddleOfBlackSquares) {
  TempDir dir;
  write_fashion(dir, "train", 5);
  write_fashion(dir, "t10k", 2);
  const ImageSplit split = load_fashion_mnist(dir.path());
  EXPECT_EQ(split.train.size(), 5);
  EXPECT_EQ(split.test.size(), 2);
  EXPECT_EQ(split.train.image, (Shape{32, 32, 1}));
  EXPECT_EQ(split.train.classes(), 10);
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(split.train.labels[size_t(i)], i * 7 % 10);
    for (int64_t y = 0; y < 32; ++y) {
      for (int64_t x = 0; x < 32; ++x) {
        const bool inside = y >= 2 && y < 30 && x >= 2 && x < 30;
        const int64_t source = (i * 28 + y - 2) * 28 + x - 2;
        ASSERT_EQ(split.train.pixels[size_t((i * 32 + y) * 32 + x)], inside ? source * 7 % 256 : 0);
      }
    }
  }
  EXPECT_EQ(load_fashion_mnist(dir.path(), 28).train.image, (Shape{28, 28, 1}));
  expect_data_error([&] { load_fashion_mnist(dir.path(), 27); }, dir.path(), "images of 28x28");
}

TEST(FashionMnist, RefusesFilesThatDoNotBelongTogether) {
  TempDir dir;
  expect_data_error([&] { load_fashion_mnist(dir / "nowhere"); }, dir / "nowhere", "no such folder");
  write_fashion(dir, "train", 5);
  expect_data_error([&] { load_fashion_mnist(dir.path()); }, dir / "t10k-images-idx3-ubyte", "no such file");
  write_fashion(dir, "t10k", 2);
  write_file(dir / "train-labels-idx1-ubyte", idx_bytes({4}, 10));
  expect_data_error([&] { load_fashion_mnist(dir.path()); }, dir / "train-images-idx3-ubyte",
                    "5 images, expected as many as the 4 labels");
  write_file(dir / "train-labels-idx1-ubyte", idx_bytes({5}, 22));  // 0 7 14 21 6
  expect_data_error([&] { load_fashion_mnist(dir.path()); }, dir / "train-images-idx3-ubyte", "label 14 of image 2");
}

/// Records whose label is their number mod classes and whose pixels tell plane and place.
Bytes cifar_bytes(int64_t records, const CifarFormat& f, int64_t first) {
  Bytes b;
  for (int64_t r = 0; r < records; ++r) {
    if (f.label_bytes == 2) b.push_back(uint8_t(r % 20));
    b.push_back(uint8_t((first + r) % f.classes));
    for (int64_t plane = 0; plane < 3; ++plane)
      for (int64_t i = 0; i < 1024; ++i) b.push_back(uint8_t((first + r + 80 * plane + i) % 256));
  }
  return b;
}

void write_cifar(const fs::path& folder, const CifarFormat& f) {
  fs::create_directories(folder);
  int64_t first = 0;
  for (const std::string& name : f.train_files) {
    write_file(folder / name, cifar_bytes(3, f, first));
    first += 3;
  }
  for (const std::string& name : f.test_files) write_file(folder / name, cifar_bytes(2, f, 0));
}

void expect_cifar(const ImageDataset& d, const CifarFormat& f, int64_t count) {
  ASSERT_EQ(d.size(), count);
  EXPECT_EQ(d.image, (Shape{32, 32, 3}));
  EXPECT_EQ(d.classes(), f.classes);
  for (int64_t n = 0; n < count; ++n) {
    EXPECT_EQ(d.labels[size_t(n)], n % f.classes);
    for (int64_t i = 0; i < 1024; ++i)
      for (int64_t c = 0; c < 3; ++c) ASSERT_EQ(d.pixels[size_t((n * 1024 + i) * 3 + c)], (n + 80 * c + i) % 256);
  }
}

TEST(Cifar, ReadsBothSetsFromTheFolderOrItsParent) {
  for (const CifarFormat& f : {cifar10_format(), cifar100_format()}) {
    SCOPED_TRACE(f.folder);
    TempDir dir;
    write_cifar(dir / f.folder, f);
    for (const fs::path& at : {dir.path(), dir / f.folder}) {
      const ImageSplit split = f.classes == 10 ? load_cifar10(at) : load_cifar100(at);
      expect_cifar(split.train, f, 3 * int64_t(f.train_files.size()));
      expect_cifar(split.test, f, 2);
      EXPECT_EQ(split.train.class_names[3], "3");
    }
  }
}

TEST(Cifar, ReadsClassNames) {
  TempDir dir;
  write_cifar(dir.path(), cifar10_format());
  const std::string names = "airplane\r\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
  write_file(dir / "batches.meta.txt", Bytes(names.begin(), names.end()));
  const ImageSplit split = load_cifar10(dir.path());
  EXPECT_EQ(split.test.class_names.front(), "airplane");
  EXPECT_EQ(split.test.class_names.back(), "truck");
  write_file(dir / "batches.meta.txt", Bytes(names.begin(), names.begin() + 20));
  expect_data_error([&] { load_cifar10(dir.path()); }, dir / "batches.meta.txt", "2 class names, expected 10");
}

TEST(Cifar, RefusesWhatIsNotWhole) {
  TempDir dir;
  expect_data_error([&] { load_cifar10(dir / "nowhere"); }, dir / "nowhere", "no such folder");
  write_cifar(dir.path(), cifar10_format());
  fs::remove(dir / "data_batch_4.bin");
  expect_data_error([&] { load_cifar10(dir.path()); }, dir / "data_batch_4.bin", "no such file");
  write_cifar(dir.path(), cifar10_format());
  fs::resize_file(dir / "data_batch_2.bin", 3 * 3073 - 1);
  expect_data_error([&] { load_cifar10(dir.path()); }, dir / "data_batch_2.bin",
                    "9218 bytes, expected a multiple of 3073");
  fs::resize_file(dir / "data_batch_2.bin", 0);
  expect_data_error([&] { load_cifar10(dir.path()); }, dir / "data_batch_2.bin", "0 bytes");
  Bytes bad = cifar_bytes(2, cifar10_format(), 0);
  bad[3073] = 10;
  write_file(dir / "data_batch_2.bin", bad);
  expect_data_error([&] { load_cifar10(dir.path()); }, dir / "data_batch_2.bin", "label 10 in record 1");
}

TEST(Dataset, CheckNamesWhatDoesNotFit) {
  ImageDataset good;
  good.image = {2, 2, 1};
  good.pixels.assign(8, 0);
  good.labels = {0, 1};
  good.class_names = {"a", "b"};
  good.mean = {0.0f};
  good.stddev = {1.0f};
  EXPECT_NO_THROW(check(good, "mine"));
  const auto refuses = [&](auto change, const char* what) {
    ImageDataset d = good;
    change(d);
    EXPECT_THAT([&] { check(d, "mine"); }, ThrowsMessage<DataError>(AllOf(HasSubstr("mine: "), HasSubstr(what))));
  };
  refuses([](ImageDataset& d) { d.pixels.pop_back(); }, "7 pixel values, expected 8");
  refuses([](ImageDataset& d) { d.labels[1] = 2; }, "label 2 of image 1");
  refuses([](ImageDataset& d) { d.labels[0] = -1; }, "label -1 of image 0");
  refuses([](ImageDataset& d) { d.labels.clear(); }, "no images");
  refuses([](ImageDataset& d) { d.image = {4}; }, "expected height, width, channels");
  refuses([](ImageDataset& d) { d.mean.clear(); }, "0 means");
  refuses([](ImageDataset& d) { d.stddev[0] = 0.0f; }, "expected a positive number");
}

// The real files, where they have been fetched: what the data's authors and a count over the files say of them.
TEST(FashionMnist, TheRealFilesHoldWhatTheyShould) {
  const char* cache = std::getenv("SLUICE_DATA_DIR");
  if (cache == nullptr) GTEST_SKIP() << "SLUICE_DATA_DIR names no folder with fashion-mnist/";
  const fs::path dir = fs::path(cache) / "fashion-mnist";
  if (!fs::is_directory(dir)) GTEST_SKIP() << dir << " is missing";
  const ImageSplit split = load_fashion_mnist(dir, 28);
  EXPECT_EQ(split.train.size(), 60000);
  EXPECT_EQ(split.test.size(), 10000);
  for (int label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(split.train.labels.begin(), split.train.labels.end(), label), 6000);
    EXPECT_EQ(std::count(split.test.labels.begin(), split.test.labels.end(), label), 1000);
  }
  double sum = 0, squares = 0;
  for (uint8_t p : split.train.pixels) {
    sum += double(p) / 255;
    squares += double(p) * double(p) / (255 * 255);
  }
  const auto n = double(split.train.pixels.size());
  EXPECT_NEAR(sum / n, double(split.train.mean[0]), 1e-4);
  EXPECT_NEAR(std::sqrt(squares / n - sum / n * sum / n), double(split.train.stddev[0]), 1e-4);
}

}  // namespace
}  // namespace sluice::readers_test
