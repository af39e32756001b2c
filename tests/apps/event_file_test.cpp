// Event files are read back by the published framing and field numbers.
#include "apps/event_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "engine/error.h"
#include "tests/support/temp_dir.h"

namespace sluice::event_file_test {
namespace {

namespace fs = std::filesystem;

TEST(EventFileTest, TheChecksumIsCastagnolis) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // RFC 3720, B.4, and the test vector of every table of CRCs
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
}

struct Scalar {
  std::string tag;
  uint64_t step = 0;
  float value = 0;
};

/// A protobuf message's fields as (number, varint or content).
struct Field {
  uint64_t number = 0, varint = 0;
  std::string bytes{};
};
uint64_t read_varint(const std::string& s, size_t& at) {
  uint64_t v = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = uint8_t(s.at(at++));
    v |= uint64_t(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return v;
  }
}
std::vector<Field> fields(const std::string& message) {
  std::vector<Field> all;
  for (size_t at = 0; at < message.size();) {
    const uint64_t key = read_varint(message, at);
    Field f{.number = key >> 3};
    if ((key & 7) == 0) f.varint = read_varint(message, at);
    if ((key & 7) != 0) {
      const uint64_t size = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : read_varint(message, at);
      f.bytes = message.substr(at, size);
      at += size;
    }
    all.push_back(f);
  }
  return all;
}
template <class T>
T as(const std::string& s, size_t at = 0) {
  T v;
  memcpy(&v, s.data() + at, sizeof v);
  return v;
}
uint32_t unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

TEST(EventFileTest, ScalarsComeBack) {
  const test::TempDir dir;
  const std::string name = dir.path().string();
  {
    EventFile file(name);
    file.scalar("loss", 1, 2.5f);
    file.scalar("test_accuracy", 300'000, -0.125f);
  }
  std::vector<Scalar> got;
  std::string version;
  for (const auto& entry : fs::directory_iterator(name)) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(in)), {});
    for (size_t at = 0; at < all.size();) {
      const auto size = as<uint64_t>(all, at);
      EXPECT_EQ(unmasked(as<uint32_t>(all, at + 8)), crc32c(all.substr(at, 8)));
      const std::string event = all.substr(at + 12, size);
      EXPECT_EQ(unmasked(as<uint32_t>(all, at + 12 + size)), crc32c(event));
      at += 16 + size;
      Scalar s;
      for (const Field& f : fields(event)) {
        if (f.number == 1) {
          EXPECT_GT(as<double>(f.bytes), 1.7e9);
        }
        if (f.number == 2) s.step = f.varint;
        if (f.number == 3) version = f.bytes;
        if (f.number == 5)
          for (const Field& v : fields(fields(f.bytes).at(0).bytes)) {
            if (v.number == 1) s.tag = v.bytes;
            if (v.number == 2) s.value = as<float>(v.bytes);
          }
      }
      if (!s.tag.empty()) got.push_back(s);
    }
  }
  EXPECT_EQ(version, "brain.Event:2");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].tag, "loss");
  EXPECT_EQ(got[0].step, 1u);
  EXPECT_EQ(got[0].value, 2.5f);
  EXPECT_EQ(got[1].tag, "test_accuracy");
  EXPECT_EQ(got[1].step, 300'000u);
  EXPECT_EQ(got[1].value, -0.125f);
  EXPECT_THROW(EventFile(name + "/nowhere"), DataError);
}

}  // namespace
}  // namespace sluice::event_file_test
