// The few fields of TensorFlow's event.proto and summary.proto that scalars need, encoded by hand.
#include "apps/event_file.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = c;
  }
  return table;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

template <class T>
std::string bytes_of(T v) {  // little-endian, like every machine that this runs on
  std::string s(sizeof v, '\0');
  memcpy(s.data(), &v, sizeof v);
  return s;
}
std::string varint(uint64_t v) {
  std::string s;
  for (; v >= 0x80; v >>= 7) s.push_back(char(v | 0x80));
  s.push_back(char(v));
  return s;
}
/// A field's key: number and wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
std::string key(int field, int type) { return varint(uint64_t(field) << 3 | uint64_t(type)); }
std::string sized(int field, const std::string& content) { return key(field, 2) + varint(content.size()) + content; }

std::string masked_crc(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes);
  return bytes_of<uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> table = crc_table();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = table[(crc ^ uint8_t(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& dir)
    : path_((dir / str("events.out.tfevents.", int64_t(now()), ".", getpid())).string()),
      out_(path_, std::ios::binary | std::ios::app) {
  record(key(1, 1) + bytes_of(now()) + sized(3, "brain.Event:2"));  // wall_time, file_version
}

void EventFile::scalar(const std::string& tag, int64_t step, float value) {
  const std::string entry = sized(1, tag) + key(2, 5) + bytes_of(value);  // tag, simple_value
  record(key(1, 1) + bytes_of(now()) + key(2, 0) + varint(uint64_t(step)) + sized(5, sized(1, entry)));
}

void EventFile::record(const std::string& event) {
  const std::string length = bytes_of<uint64_t>(event.size());
  out_ << length << masked_crc(length) << event << masked_crc(event) << std::flush;
  if (!out_) throw DataError(str(path_, ": cannot be written: ", std::strerror(errno)));
}

}  // namespace sluice
