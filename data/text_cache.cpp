// The cache file: "SLTOKEN1", bytes and CRC-32 of what follows, then the key and the split, little-endian.
#include "data/text_cache.h"

#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <fstream>
#include <optional>

#include "engine/error.h"
#include "engine/rng.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kMagic = "SLTOKEN1";

struct Header {
  char magic[8];
  uint64_t bytes;
  uint64_t crc;
};

uint64_t checksum(std::string_view s) { return crc32_z(0, reinterpret_cast<const Bytef*>(s.data()), s.size()); }

std::string settings_text(const TextOptions& o) {
  return str("max_len ", o.max_len, ", min_len ", o.min_len, ", vocabulary ", o.vocabulary, ", seed ", o.seed,
             o.faithful ? ", faithful" : "");
}

/// Everything that the split depends on.
std::string key_text(const TextSources& sources, const TextOptions& options) {
  std::string key = settings_text(options) + "\n" + sources.settings;
  for (const fs::path& path : sources.paths) {
    if (!fs::is_regular_file(path))
      throw DataError(str(path.string(), ": no such file, expected the texts of ", sources.name));
    key +=
        str("\n", path.string(), " ", fs::file_size(path), " ", fs::last_write_time(path).time_since_epoch().count());
  }
  return key;
}

fs::path cache_file(const TextSources& sources, const TextOptions& options) {
  std::string of = settings_text(options) + sources.settings;
  for (const fs::path& path : sources.paths) of += str("\n", path.string());
  return options.cache / str(sources.name, "-", std::hex, path_hash(of), ".tokens");
}

class Writer {
 public:
  void put(std::string_view s) {
    put_count(s.size());
    bytes_ += s;
  }
  template <class T>
  void put(const std::vector<T>& v) {
    put_count(v.size());
    bytes_.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T));
  }
  void put(const std::vector<std::string>& v) {
    put_count(v.size());
    for (const std::string& s : v) put(std::string_view(s));
  }
  void put_count(uint64_t n) { bytes_.append(reinterpret_cast<const char*>(&n), sizeof n); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// The inverse. The checksum has passed, so counts fit.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  uint64_t count() {
    uint64_t n = 0;
    std::memcpy(&n, take(sizeof n).data(), sizeof n);
    return n;
  }
  std::string text() { return std::string(take(count())); }
  template <class T>
  std::vector<T> values() {
    std::vector<T> v(count());
    const std::string_view from = take(v.size() * sizeof(T));
    if (!v.empty()) std::memcpy(v.data(), from.data(), from.size());
    return v;
  }
  std::vector<std::string> texts() {
    std::vector<std::string> v(count());
    for (std::string& s : v) s = text();
    return v;
  }

 private:
  std::string_view take(size_t n) {
    const std::string_view taken = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return taken;
  }
  std::string_view bytes_;
};

std::string pack(const std::string& key, const TextSplit& split) {
  Writer w;
  w.put(std::string_view(key));
  w.put(split.train.class_names);
  w.put(split.vocabulary.words());
  w.put_count(uint64_t(split.distinct_words));
  w.put_count(uint64_t(split.left_out));
  for (const TextDataset* d : {&split.train, &split.test}) {
    w.put(d->tokens);
    w.put(d->offsets);
    w.put(d->labels);
  }
  return w.bytes();
}

std::optional<TextSplit> unpack(std::string_view bytes, const std::string& key, int64_t bucket) {
  Reader r(bytes);
  if (r.text() != key) return {};
  TextSplit split;
  split.train.class_names = split.test.class_names = r.texts();
  split.vocabulary = Vocabulary(r.texts());
  split.distinct_words = int64_t(r.count());
  split.left_out = int64_t(r.count());
  for (TextDataset* d : {&split.train, &split.test}) {
    d->tokens = r.values<int32_t>();
    d->offsets = r.values<int64_t>();
    d->labels = r.values<int32_t>();
    d->vocabulary_size = split.vocabulary.size();
    d->bucket = bucket;
  }
  split.from_cache = true;
  return split;
}

std::optional<TextSplit> read_cache(const fs::path& path, const std::string& key, int64_t bucket) {
  std::ifstream in(path, std::ios::binary);
  Header h{};
  if (!in.read(reinterpret_cast<char*>(&h), sizeof h) || std::string_view(h.magic, sizeof h.magic) != kMagic) return {};
  if (h.bytes + sizeof h != fs::file_size(path)) return {};
  std::string bytes(h.bytes, '\0');
  if (!in.read(bytes.data(), std::streamsize(bytes.size())) || checksum(bytes) != h.crc) return {};
  return unpack(bytes, key, bucket);
}

void write_cache(const fs::path& path, const std::string& bytes) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const fs::path temporary = str(path.string(), ".", getpid());
  std::ofstream out(temporary, std::ios::binary);
  Header h{.magic = {}, .bytes = bytes.size(), .crc = checksum(bytes)};
  std::memcpy(h.magic, kMagic.data(), kMagic.size());
  out.write(reinterpret_cast<const char*>(&h), sizeof h);
  out.write(bytes.data(), std::streamsize(bytes.size()));
  out.close();
  if (out) fs::rename(temporary, path, ignored);
  fs::remove(temporary, ignored);  // where something failed
}

}  // namespace

TextSplit cached_split(const TextSources& sources, const TextOptions& options, const std::function<TextSplit()>& make) {
  check(options);
  const std::string key = key_text(sources, options);
  if (options.cache.empty()) return make();
  const fs::path path = cache_file(sources, options);
  if (std::optional<TextSplit> hit = read_cache(path, key, options.bucket)) return std::move(*hit);
  TextSplit split = make();
  write_cache(path, pack(key, split));
  return split;
}

}  // namespace sluice
