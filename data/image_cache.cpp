// A header of fixed size, then the pixels. Numbers are as the machine has them: a cache stays where it was made.
#include "data/image_cache.h"

#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <fstream>

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct Header {
  char magic[16] = "sluice images 1";
  uint64_t source = 0;
  int64_t count = 0, height = 0, width = 0, channels = 0;
  uint64_t checksum = 0;  // CRC-32 of the pixels
};

Header header(const CacheKey& key, const std::vector<uint8_t>& pixels) {
  Header h;
  h.source = key.source;
  h.count = key.count;
  h.height = key.image[0];
  h.width = key.image[1];
  h.channels = key.image[2];
  h.checksum = crc32_z(0, pixels.data(), pixels.size());
  return h;
}

}  // namespace

std::optional<std::vector<uint8_t>> read_image_cache(const fs::path& path, const CacheKey& key) {
  const int64_t bytes = key.count * key.image.numel();
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  if (missing || int64_t(size) != int64_t(sizeof(Header)) + bytes) return {};
  std::ifstream in(path, std::ios::binary);
  Header found;
  std::vector<uint8_t> pixels(size_t(bytes), 0);
  in.read(reinterpret_cast<char*>(&found), sizeof(found));
  in.read(reinterpret_cast<char*>(pixels.data()), bytes);
  if (!in) return {};
  const Header expected = header(key, pixels);
  if (std::memcmp(&found, &expected, sizeof(Header)) != 0) return {};
  return pixels;
}

void write_image_cache(const fs::path& path, const CacheKey& key, const std::vector<uint8_t>& pixels) {
  const fs::path temporary = str(path.string(), ".", ::getpid(), ".tmp");  // two runs may write at once
  std::error_code failed;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
  const Header h = header(key, pixels);
  std::ofstream out(temporary, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&h), sizeof(h));
  out.write(reinterpret_cast<const char*>(pixels.data()), std::streamsize(pixels.size()));
  out.close();
  if (out) fs::rename(temporary, path, failed);
  if (out && !failed) return;
  std::error_code ignored;
  fs::remove(temporary, ignored);
  throw DataError(str(path.string(),
                      ": the cache of decoded images cannot be written, expected a writable folder with ", "room for ",
                      pixels.size(), " bytes"));
}

}  // namespace sluice
