// A header of fixed size, the key, the bytes. Numbers are as the machine has them: a cache stays where it was made.
#include "data/cache_file.h"

#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

#include "engine/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct Header {
  char magic[16] = "sluice cache 1";
  uint64_t key_bytes = 0, bytes = 0;
  uint64_t checksum = 0;  // CRC-32 of the bytes
};

Header header(const std::string& key, std::span<const uint8_t> bytes) {
  Header h;
  h.key_bytes = key.size();
  h.bytes = bytes.size();
  h.checksum = crc32_z(0, bytes.data(), bytes.size());
  return h;
}

}  // namespace

std::optional<std::vector<uint8_t>> read_cache(const fs::path& path, const std::string& key) {
  std::error_code missing;
  const uint64_t size = fs::file_size(path, missing), before = sizeof(Header) + key.size();
  if (missing || size < before) return {};
  std::ifstream in(path, std::ios::binary);
  Header found;
  std::string found_key(key.size(), '\0');
  in.read(reinterpret_cast<char*>(&found), sizeof found);
  in.read(found_key.data(), std::streamsize(found_key.size()));
  if (!in || found.key_bytes != key.size() || found_key != key || found.bytes != size - before) return {};
  std::vector<uint8_t> bytes(found.bytes);
  in.read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
  const Header expected = header(key, bytes);
  if (!in || std::memcmp(&found, &expected, sizeof found) != 0) return {};
  return bytes;
}

bool write_cache(const fs::path& path, const std::string& key, std::span<const uint8_t> bytes) {
  std::error_code failed, ignored;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), ignored);
  const fs::path temporary = str(path.string(), ".", ::getpid(), ".tmp");  // two runs may write at once
  const Header h = header(key, bytes);
  std::ofstream out(temporary, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&h), sizeof h);
  out.write(key.data(), std::streamsize(key.size()));
  out.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  out.close();
  if (out) fs::rename(temporary, path, failed);
  if (out && !failed) return true;
  fs::remove(temporary, ignored);
  return false;
}

}  // namespace sluice
