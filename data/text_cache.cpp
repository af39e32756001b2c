// The split, packed one value after the other.
#include "data/text_cache.h"

#include <cstring>

#include "data/cache_file.h"
#include "engine/error.h"
#include "engine/rng.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

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
    append(s.data(), s.size());
  }
  template <class T>
  void put(const std::vector<T>& v) {
    put_count(v.size());
    append(v.data(), v.size() * sizeof(T));
  }
  void put(const std::vector<std::string>& v) {
    put_count(v.size());
    for (const std::string& s : v) put(std::string_view(s));
  }
  void put_count(uint64_t n) { append(&n, sizeof n); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void append(const void* from, size_t n) {
    const auto* bytes = static_cast<const uint8_t*>(from);
    bytes_.insert(bytes_.end(), bytes, bytes + n);
  }
  std::vector<uint8_t> bytes_;
};

/// The inverse. The checksum has passed, so counts fit.
class Reader {
 public:
  explicit Reader(const std::vector<uint8_t>& bytes)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}
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

std::vector<uint8_t> pack(const TextSplit& split) {
  Writer w;
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

TextSplit unpack(const std::vector<uint8_t>& bytes, int64_t bucket) {
  Reader r(bytes);
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

}  // namespace

TextSplit cached_split(const TextSources& sources, const TextOptions& options, const std::function<TextSplit()>& make) {
  check(options);
  const std::string key = key_text(sources, options);
  if (options.cache.empty()) return make();
  const fs::path path = cache_file(sources, options);
  if (const auto kept = read_cache(path, key)) return unpack(*kept, options.bucket);
  TextSplit split = make();
  write_cache(path, key, pack(split));  // where that fails the next start reads the texts again
  return split;
}

}  // namespace sluice
