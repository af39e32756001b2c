// The safetensors reader and writer: layout, round trips, every broken file, and writes that fail half-way.
#include "engine/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "tests/support/temp_dir.h"

namespace sluice::safetensors_test {
namespace {

using test::TempDir;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;
namespace fs = std::filesystem;

template <class T>
HostArray array_of(Shape shape, const std::vector<T>& values) {
  HostArray a{dtype_of<T>::value, shape, std::vector<std::byte>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(a.bytes.data(), values.data(), a.bytes.size());
  return a;
}

TensorFile every_dtype() {
  TensorFile f;
  f.metadata = {{"note", "line\n\"quoted\""}, {"step", "12"}};
  f.arrays["a.f32"] = array_of<float>({2, 3}, {1, -2, 3, -4, 5, -6});
  f.arrays["b.bf16"] = array_of<bf16>({3}, {bf16(1.0f), bf16(-2.0f), bf16(0.5f)});
  f.arrays["c.i32"] = array_of<int32_t>({1}, {-7});
  f.arrays["d.i64"] = array_of<int64_t>({2}, {int64_t(1) << 40, -1});
  f.arrays["e.u8"] = array_of<uint8_t>({5}, {0, 1, 2, 254, 255});
  f.arrays["f.empty"] = array_of<float>({0, 4}, {});
  f.arrays["g.scalar"] = array_of<float>({}, {42.0f});
  return f;
}

void expect_equal(const TensorFile& got, const TensorFile& expected) {
  EXPECT_EQ(got.metadata, expected.metadata);
  ASSERT_EQ(got.arrays.size(), expected.arrays.size());
  for (const auto& [name, a] : expected.arrays) {
    SCOPED_TRACE(name);
    ASSERT_EQ(got.arrays.count(name), 1u);
    const HostArray& g = got.arrays.at(name);
    EXPECT_EQ(g.dtype, a.dtype);
    EXPECT_EQ(g.shape, a.shape);
    EXPECT_EQ(g.bytes, a.bytes);
  }
}

/// A file from a header's text and a count of data bytes.
std::vector<uint8_t> raw_file(const std::string& header, size_t data_bytes) {
  std::vector<uint8_t> b;
  for (int i = 0; i < 8; ++i) b.push_back(uint8_t(header.size() >> (8 * i)));
  b.insert(b.end(), header.begin(), header.end());
  b.insert(b.end(), data_bytes, 7);
  return b;
}

TEST(Safetensors, RoundTripKeepsEveryByte) {
  TempDir dir;
  write_safetensors(dir / "x", every_dtype());
  expect_equal(read_safetensors(dir / "x"), every_dtype());
  write_safetensors(dir / "none", {});
  expect_equal(read_safetensors(dir / "none"), {});
  EXPECT_EQ(dir.names(), (std::vector<std::string>{"none", "x"}));
}

TEST(Safetensors, LayoutIsTheFormats) {
  TempDir dir;
  TensorFile f;
  f.arrays["w"] = array_of<float>({1, 2}, {1.0f, 2.0f});
  write_safetensors(dir / "x", f);
  const std::vector<uint8_t> bytes = test::read_file(dir / "x");
  const std::string header = R"({"w":{"data_offsets":[0,8],"dtype":"F32","shape":[1,2]}})";
  const size_t padded = (header.size() + 7) / 8 * 8;
  ASSERT_EQ(bytes.size(), 8 + padded + 8);
  EXPECT_EQ(bytes[0], padded);
  EXPECT_EQ(std::string(bytes.begin() + 8, bytes.begin() + 8 + std::ptrdiff_t(header.size())), header);
  EXPECT_EQ(std::vector<uint8_t>(bytes.end() - 8, bytes.end()),
            (std::vector<uint8_t>{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}));
}

TEST(Safetensors, ReadsWhatOthersWrite) {  // other order of keys, arrays not in the order of their names
  TempDir dir;
  const std::string header = R"( {"z":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"__metadata__":{"by":"hand"},)"
                             R"("a":{"shape":[3,1],"dtype":"U8","data_offsets":[2,5]}}   )";
  test::write_file(dir / "x", raw_file(header, 5));
  const TensorFile f = read_safetensors(dir / "x");
  EXPECT_EQ(f.arrays.at("a").shape, (Shape{3, 1}));
  EXPECT_EQ(f.metadata.at("by"), "hand");
}

TEST(Safetensors, RefusesBrokenFiles) {
  struct Case {
    std::string header;
    size_t data;
    const char* what;
  };
  const std::vector<Case> cases = {
      {"{", 0, "not JSON"},
      {"[]", 0, "not a JSON object"},
      {R"({"w":1})", 0, "an entry is missing"},
      {R"({"w":{"dtype":"F32","shape":[1]}})", 4, "an entry is missing"},
      {R"({"w":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype"},
      {R"({"w":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype"},
      {R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "bad shape"},
      {R"({"w":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "bad shape"},
      {R"({"w":{"dtype":"F32","shape":[1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "bad shape"},
      {R"({"w":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4, "bad shape"},
      {R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, "overflows"},
      {R"({"w":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4, "overflows"},
      {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "bad data_offsets"},
      {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "bad data_offsets"},
      {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "lies at [4, 0)"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "lies at [0, 8)"},
      {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "takes 4 bytes, expected 8"},
      {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", 4, "(gap)"},
      {R"({"v":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"w":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       4, "(overlap)"},
      {R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 4, "4 bytes of data, expected 2"},
      {R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       4, "twice"},
      {R"({"__metadata__":{"step":12}})", 0, "metadata 'step' is not a text"},
      {R"({"__metadata__":"text"})", 0, "metadata is not an object"},
  };
  TempDir dir;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.header);
    test::write_file(dir / "x", raw_file(c.header, c.data));
    EXPECT_THAT([&] { read_safetensors(dir / "x"); },
                ThrowsMessage<DataError>(AllOf(HasSubstr((dir / "x").string()), HasSubstr(c.what),
                                               HasSubstr("expected"), Not(HasSubstr("\n")))));
  }
}

TEST(Safetensors, RefusesAFileCutAnywhere) {
  TempDir dir;
  write_safetensors(dir / "whole", every_dtype());
  const auto whole = fs::file_size(dir / "whole");
  fs::copy_file(dir / "whole", dir / "cut");
  for (auto length = whole; length-- > 0;) {
    fs::resize_file(dir / "cut", length);
    EXPECT_THROW(read_safetensors(dir / "cut"), DataError) << length << " of " << whole;
  }
  EXPECT_THAT([&] { read_safetensors(dir / "none"); }, ThrowsMessage<DataError>(HasSubstr("no such file")));
  EXPECT_THAT([&] { read_safetensors(dir.path()); }, ThrowsMessage<DataError>(HasSubstr("no such file")));
}

TEST(Safetensors, RefusesAnArrayWhoseBytesDoNotFitItsShape) {
  TempDir dir;
  TensorFile f = every_dtype();
  f.arrays["a.f32"].bytes.pop_back();
  EXPECT_THROW(write_safetensors(dir / "x", f), ShapeError);
  EXPECT_TRUE(dir.names().empty());
}

/// Writes fail from `bytes` on while it lives, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(Safetensors, AWriteThatFailsLeavesTheOldFile) {
  TempDir dir;
  write_safetensors(dir / "x", every_dtype());
  TensorFile large;
  large.arrays["w"] = array_of<uint8_t>({100000}, std::vector<uint8_t>(100000, 1));
  const auto refused = ThrowsMessage<DataError>(
      AllOf(HasSubstr((dir / "x").string()), HasSubstr("cannot be written"), Not(HasSubstr("\n"))));
  for (rlim_t room : {rlim_t(0), rlim_t(4), rlim_t(20), rlim_t(50000)}) {
    const FileSizeLimit limit(room);
    EXPECT_THAT([&] { write_safetensors(dir / "x", large); }, refused);
  }
  EXPECT_EQ(dir.names(), std::vector<std::string>{"x"});
  expect_equal(read_safetensors(dir / "x"), every_dtype());
}

TEST(Safetensors, AFullDiskIsNamed) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  TempDir dir;
  write_safetensors(dir / "x", every_dtype());
  fs::create_symlink("/dev/full", dir / "x.tmp");  // the new file's name: what is written to it meets a full disk
  EXPECT_THAT([&] { write_safetensors(dir / "x", every_dtype()); },
              ThrowsMessage<DataError>(HasSubstr("No space left on device")));
  EXPECT_EQ(dir.names(), std::vector<std::string>{"x"});
  expect_equal(read_safetensors(dir / "x"), every_dtype());
}

TEST(Safetensors, AMissingFolderAndAFolderInThePlaceAreNamed) {
  TempDir dir;
  EXPECT_THAT([&] { write_safetensors(dir / "none" / "x", {}); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("cannot be created"), HasSubstr("No such file"))));
  fs::create_directories(dir / "x" / "inside");
  EXPECT_THAT([&] { write_safetensors(dir / "x", {}); },
              ThrowsMessage<DataError>(HasSubstr("cannot take the place of the old file")));
  EXPECT_EQ(dir.names(), std::vector<std::string>{"x"});
}

TEST(Safetensors, ALeftOverOfAKilledWriteIsReplaced) {
  TempDir dir;
  test::write_file(dir / "x.tmp", std::vector<uint8_t>(5000, 9));
  write_safetensors(dir / "x", every_dtype());
  expect_equal(read_safetensors(dir / "x"), every_dtype());
  EXPECT_EQ(dir.names(), std::vector<std::string>{"x"});
}

}  // namespace
}  // namespace sluice::safetensors_test
