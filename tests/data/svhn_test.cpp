// MATLAB files as SVHN has them, compressed and not; and one clear line for every way in which one can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

#include "data/dataset.h"
#include "data/mat.h"
#include "tests/support/temp_dir.h"

namespace sluice::svhn_test {
namespace {

using test::TempDir;
using test::write_file;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

template <class F>
void expect_data_error(F&& f, const fs::path& path, const std::string& what) {
  EXPECT_THAT(f, ThrowsMessage<DataError>(
                     AllOf(HasSubstr(path.string()), HasSubstr(what), HasSubstr("expected"), Not(HasSubstr("\n")))));
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes b(values.size() * sizeof(T));
  std::memcpy(b.data(), values.data(), b.size());
  return b;
}
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// {type, bytes, data, padding}; up to 4 bytes in the short form that MATLAB itself writes.
Bytes element(uint32_t type, const Bytes& data) {
  if (!data.empty() && data.size() <= 4) {
    Bytes b = bytes_of<uint32_t>({uint32_t(data.size()) << 16 | type}) + data;
    b.resize(8);
    return b;
  }
  Bytes b = bytes_of<uint32_t>({type, uint32_t(data.size())}) + data;
  b.resize((b.size() + 7) / 8 * 8);
  return b;
}

struct Array {
  std::string name;
  std::vector<int32_t> dims;
  Bytes data;
  uint32_t type = 2;   // stored as unsigned bytes
  uint32_t flags = 9;  // class uint8
};
Bytes matrix(const Array& a) {
  return element(14, element(6, bytes_of<uint32_t>({a.flags, 0})) + element(5, bytes_of(a.dims)) +
                         element(1, {a.name.begin(), a.name.end()}) + element(a.type, a.data));
}
Bytes compressed(const Bytes& whole) {
  uLongf size = compressBound(uLong(whole.size()));
  Bytes packed(size);
  EXPECT_EQ(compress(packed.data(), &size, whole.data(), uLong(whole.size())), Z_OK);
  packed.resize(size);
  return bytes_of<uint32_t>({15, uint32_t(size)}) + packed;  // without padding
}
Bytes header(const std::string& order = "IM", uint8_t version = 1) {
  Bytes b(128, ' ');
  b[124] = 0;
  b[125] = version;
  b[126] = uint8_t(order[0]);
  b[127] = uint8_t(order[1]);
  return b;
}

uint8_t pixel(int64_t row, int64_t column, int64_t channel, int64_t n) {
  return uint8_t(row * 7 + column * 3 + channel * 50 + n * 11);
}
Array images(int32_t count) {
  Array x{.name = "X", .dims = {32, 32, 3, count}, .data = {}};
  for (int64_t n = 0; n < count; ++n)
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t column = 0; column < 32; ++column)
        for (int64_t row = 0; row < 32; ++row) x.data.push_back(pixel(row, column, c, n));
  if (count == 1) x.dims.pop_back();  // as MATLAB does
  return x;
}
Array labels(const Bytes& values) { return {.name = "y", .dims = {int32_t(values.size()), 1}, .data = values}; }

TEST(Svhn, ReadsCompressedAndPlainFiles) {
  TempDir dir;
  // As published: X and y of class uint8, each compressed by itself.
  write_file(dir / "train_32x32.mat",
             header() + compressed(matrix(images(5))) + compressed(matrix(labels({1, 10, 9, 5, 10}))));
  // y of class double, as other copies have it, in another order, with another array between.
  Array y{.name = "y", .dims = {2, 1}, .data = bytes_of<double>({10, 3}), .type = 9, .flags = 6};
  write_file(dir / "test_32x32.mat",
             header() + matrix(y) + matrix({.name = "other", .dims = {1, 1}, .data = {4}}) + matrix(images(2)));
  const ImageSplit split = load_svhn(dir.path());
  EXPECT_EQ(split.train.labels, (std::vector<int32_t>{1, 0, 9, 5, 0}));
  EXPECT_EQ(split.test.labels, (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(split.train.image, (Shape{32, 32, 3}));
  EXPECT_EQ(split.train.class_names[7], "7");
  EXPECT_EQ(split.train.mean, (std::vector<float>{0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(split.train.stddev, split.train.mean);
  for (const ImageDataset* d : {&split.train, &split.test}) {
    size_t at = 0;
    for (int64_t n = 0; n < d->size(); ++n)
      for (int64_t row = 0; row < 32; ++row)
        for (int64_t column = 0; column < 32; ++column)
          for (int64_t c = 0; c < 3; ++c) ASSERT_EQ(d->pixels[at++], pixel(row, column, c, n));
    EXPECT_EQ(at, d->pixels.size());
  }
}

TEST(Svhn, OneImageHasThreeDimensions) {
  TempDir dir;
  for (const char* part : {"train", "test"})
    write_file(dir / (std::string(part) + "_32x32.mat"), header() + matrix(images(1)) + matrix(labels({2})));
  EXPECT_EQ(load_svhn(dir.path()).test.size(), 1);
}

TEST(Svhn, RefusesWhatDoesNotBelongTogether) {
  TempDir dir;
  const fs::path path = dir / "train_32x32.mat";
  const auto refused = [&](const Bytes& content, const std::string& what) {
    write_file(path, header() + content);
    expect_data_error([&] { load_svhn(dir.path()); }, path, what);
  };
  expect_data_error([&] { load_svhn(dir.path()); }, path, "no such file");
  refused(matrix(images(3)) + matrix(labels({1, 2})), "y is 2x1, expected a label for each of 3 images");
  refused(matrix(images(2)) + matrix(labels({1, 11})), "label 11 of image 1");
  refused(matrix(images(2)) + matrix(labels({0, 1})), "label 0 of image 0");
  refused(
      matrix(images(1)) + matrix({.name = "y", .dims = {1, 1}, .data = bytes_of<double>({1.5}), .type = 9, .flags = 6}),
      "label 1.5");
  refused(matrix(images(2)), "holds 'X', expected an array 'y'");
  refused({}, "holds no arrays, expected an array 'X'");
  Array grey = images(3);
  grey.dims = {32, 32, 1, 9};
  refused(matrix(grey) + matrix(labels(Bytes(9, 1))), "X is 32x32x1x9");
}

TEST(Mat, ReadsEveryTypeOfNumber) {
  TempDir dir;
  const auto values = [&](uint32_t type, const Bytes& data, int32_t count) {
    write_file(dir / "v.mat", header() + matrix({.name = "v", .dims = {count, 1}, .data = data, .type = type}));
    const MatArray a = read_mat(dir / "v.mat", {"v"})[0];
    EXPECT_EQ(a.size(), count);
    return std::vector<double>{a.value(0), a.value(1)};
  };
  const std::vector<double> signs{-3, 7}, plain{200, 7};
  EXPECT_EQ(values(1, bytes_of<int8_t>({-3, 7}), 2), signs);
  EXPECT_EQ(values(2, bytes_of<uint8_t>({200, 7, 1}), 3), plain);
  EXPECT_EQ(values(3, bytes_of<int16_t>({-3, 7}), 2), signs);
  EXPECT_EQ(values(4, bytes_of<uint16_t>({200, 7, 1, 1, 1}), 5), plain);
  EXPECT_EQ(values(5, bytes_of<int32_t>({-3, 7}), 2), signs);
  EXPECT_EQ(values(6, bytes_of<uint32_t>({200, 7}), 2), plain);
  EXPECT_EQ(values(7, bytes_of<float>({-3, 7}), 2), signs);
  EXPECT_EQ(values(9, bytes_of<double>({-3, 7}), 2), signs);
}

TEST(Mat, RefusesOtherFormats) {
  TempDir dir;
  const fs::path path = dir / "x.mat";
  const auto refused = [&](const Bytes& content, const std::string& what) {
    write_file(path, content);
    expect_data_error([&] { read_mat(path, {"X"}); }, path, what);
  };
  refused({1, 2, 3}, "3 bytes");
  refused(header("MI") + matrix(images(1)), "big-endian");
  refused(header("IM", 2), "not a MATLAB file of version 5");  // 7.3 is HDF5
  refused(Bytes(128, 'x'), "not a MATLAB file of version 5");
  Array a = images(1);
  a.flags = 9 | 8 << 8;
  refused(header() + matrix(a), "is complex");
  a.flags = 4;
  refused(header() + matrix(a), "is of class 4");
  a.flags = 9;
  a.type = 14;
  refused(header() + matrix(a), "is stored as type 14");
  a = images(1);
  a.dims = {32, 32, 3, 2};
  refused(header() + matrix(a), "has 3072 bytes, expected 6144 for its dimensions");
  a.dims = {32, -32};
  refused(header() + matrix(a), "has a dimension of -32");
}

TEST(Mat, RefusesAFileCutAnywhereOrChanged) {
  TempDir dir;
  for (const bool packed : {false, true}) {
    const Bytes whole = header() + (packed ? compressed(matrix(images(1))) : matrix(images(1)));
    for (size_t length = 129; length < whole.size(); length += packed ? 7 : 97) {
      write_file(dir / "cut.mat", Bytes(whole.begin(), whole.begin() + std::ptrdiff_t(length)));
      EXPECT_THROW(read_mat(dir / "cut.mat", {"X"}), DataError) << length;
    }
  }
  Bytes changed = header() + compressed(matrix(images(1)));
  changed[changed.size() - 2] ^= 0x55;  // the checksum at the end
  write_file(dir / "changed.mat", changed);
  expect_data_error([&] { read_mat(dir / "changed.mat", {"X"}); }, dir / "changed.mat", "broken compressed element");
  // An element within that is larger than what holds it, and one that announces more than can be packed.
  Bytes inner = matrix(images(1));
  inner[8 + 4] = 0xff;
  inner[8 + 7] = 0x7f;
  write_file(dir / "inner.mat", header() + inner);
  expect_data_error([&] { read_mat(dir / "inner.mat", {"X"}); }, dir / "inner.mat", "an element of");
  write_file(dir / "huge.mat", header() + compressed(bytes_of<uint32_t>({14, 0xfffffff0u})));
  expect_data_error([&] { read_mat(dir / "huge.mat", {"X"}); }, dir / "huge.mat", "announces");
}

}  // namespace
}  // namespace sluice::svhn_test
