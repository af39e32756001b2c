// Safetensors: eight bytes of header length, a JSON header, then the arrays one after another.
#include "engine/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace sluice {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMostHeader = 100'000'000;  // the format's own bound
constexpr const char* kMetadata = "__metadata__";

struct DTypeName {
  DType dtype;
  const char* name;
};
constexpr DTypeName kDTypes[] = {
    {DType::kF32, "F32"}, {DType::kBF16, "BF16"}, {DType::kI32, "I32"}, {DType::kI64, "I64"}, {DType::kU8, "U8"}};

const char* file_name(DType t) {
  for (const DTypeName& d : kDTypes)
    if (d.dtype == t) return d.name;
  return "?";
}

/// Reads one file. Every failure names the path.
class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {}

  TensorFile read() {
    read_header();
    TensorFile file;
    for (const auto& [key, value] : header_.items()) {
      if (key == kMetadata)
        file.metadata = metadata(value);
      else
        entries_.push_back(entry(key, value));
    }
    expect_no_gap();
    for (const Entry& e : entries_) {
      HostArray a{e.dtype, e.shape, std::vector<std::byte>(e.end - e.begin)};
      in_.seekg(std::streamoff(data_begin_ + e.begin));
      in_.read(reinterpret_cast<char*>(a.bytes.data()), std::streamsize(a.bytes.size()));
      if (!in_) fail(str("array '", e.name, "' could not be read, expected ", a.bytes.size(), " bytes"));
      file.arrays.emplace(e.name, std::move(a));
    }
    return file;
  }

 private:
  struct Entry {
    std::string name;
    DType dtype;
    Shape shape;
    uint64_t begin, end;  // in the data, bytes
  };

  [[noreturn]] void fail(const std::string& what) const { throw DataError(str(path_.string(), ": ", what)); }

  void read_header() {
    in_.open(path_, std::ios::binary);
    if (!in_ || !fs::is_regular_file(path_)) fail("no such file, expected a safetensors file");
    const uint64_t size = fs::file_size(path_);
    if (size < kLengthBytes) fail(str(size, " bytes, expected at least the ", kLengthBytes, " of a safetensors file"));
    std::array<uint8_t, kLengthBytes> raw{};
    in_.read(reinterpret_cast<char*>(raw.data()), kLengthBytes);
    uint64_t length = 0;
    for (size_t i = kLengthBytes; i-- > 0;) length = length << 8 | raw[i];
    const uint64_t most = std::min(size - kLengthBytes, kMostHeader);
    if (length > most) fail(str("header of ", length, " bytes announced, expected at most ", most));
    std::string text(length, '\0');
    in_.read(text.data(), std::streamsize(length));
    if (!in_) fail(str("header could not be read, expected ", length, " bytes"));
    header_ = parse(text);
    data_begin_ = kLengthBytes + length;
    data_bytes_ = size - data_begin_;
  }

  json parse(const std::string& text) const {
    std::set<std::string> keys;
    const auto unique = [&](int depth, json::parse_event_t event, json& value) {
      if (depth == 1 && event == json::parse_event_t::key && !keys.insert(value.get<std::string>()).second)
        fail(str("array '", value.get<std::string>(), "' stands in the header twice, expected once"));
      return true;
    };
    json header;
    try {
      header = json::parse(text, unique);
    } catch (const json::parse_error& e) {
      fail(str("header is not JSON (byte ", e.byte, "), expected a safetensors header"));
    }
    if (!header.is_object()) fail("header is not a JSON object, expected a safetensors header");
    return header;
  }

  std::map<std::string, std::string> metadata(const json& value) const {
    std::map<std::string, std::string> out;
    if (!value.is_object()) fail("metadata is not an object, expected texts by name");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail(str("metadata '", key, "' is not a text, expected one"));
      out[key] = text.get<std::string>();
    }
    return out;
  }

  Entry entry(const std::string& name, const json& value) const {
    const auto bad = [&](const char* what, const char* expected) {
      fail(str("array '", name, "': ", what, ", expected ", expected));
    };
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets"))
      bad("an entry is missing", "dtype, shape and data_offsets");
    const json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
    const auto known =
        std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](const DTypeName& d) { return dtype == d.name; });
    if (known == std::end(kDTypes)) bad("unknown dtype", "F32, BF16, I32, I64 or U8");
    const auto is_count = [](const json& j) { return j.is_number_unsigned(); };
    if (!shape.is_array() || shape.size() > size_t(Shape::kMaxRank) ||
        !std::all_of(shape.begin(), shape.end(), is_count))
      bad("bad shape", "at most 5 sizes");
    if (!offsets.is_array() || offsets.size() != 2 || !std::all_of(offsets.begin(), offsets.end(), is_count))
      bad("bad data_offsets", "two positions");
    Entry e{name, known->dtype, {}, offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>()};
    uint64_t bytes = uint64_t(size_of(e.dtype));
    for (const json& d : shape) {
      const auto extent = d.get<uint64_t>();
      if (extent > uint64_t(INT64_MAX) || __builtin_mul_overflow(bytes, extent, &bytes))
        bad("the shape overflows", "a size in range");
      e.shape.push_back(int64_t(extent));
    }
    if (e.begin > e.end || e.end > data_bytes_)
      fail(str("array '", name, "' lies at [", e.begin, ", ", e.end, "), expected to lie in the file's ", data_bytes_,
               " bytes of data"));
    if (e.end - e.begin != bytes)
      fail(str("array '", name, "' takes ", e.end - e.begin, " bytes, expected ", bytes, " for ", e.shape.text()));
    return e;
  }

  /// Sorted by place, each array must begin where the one before ends, and the last must end with the file.
  void expect_no_gap() {
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t at = 0;
    for (const Entry& e : entries_) {
      if (e.begin != at)
        fail(
            str("array '", e.name, "' begins at ", e.begin, ", expected ", at, e.begin < at ? " (overlap)" : " (gap)"));
      at = e.end;
    }
    if (at != data_bytes_) fail(str(data_bytes_, " bytes of data, expected ", at));
  }

  fs::path path_;
  std::ifstream in_;
  json header_;
  uint64_t data_begin_ = 0, data_bytes_ = 0;
  std::vector<Entry> entries_;
};

std::string header_of(const TensorFile& file) {
  json header = json::object();
  if (!file.metadata.empty()) header[kMetadata] = file.metadata;
  uint64_t at = 0;
  for (const auto& [name, a] : file.arrays) {
    if (int64_t(a.bytes.size()) != a.shape.numel() * size_of(a.dtype))
      throw ShapeError(str("safetensors: array '", name, "' of shape ", a.shape.text(), " has ", a.bytes.size(),
                           " bytes, expected ", a.shape.numel() * size_of(a.dtype)));
    json shape = json::array();
    for (int i = 0; i < a.shape.rank(); ++i) shape.push_back(uint64_t(a.shape[i]));
    header[name] = {{"dtype", file_name(a.dtype)}, {"shape", shape}, {"data_offsets", {at, at + a.bytes.size()}}};
    at += a.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data is aligned
  return text;
}

/// The file next to the target until it is whole. Removed unless it took the target's place.
class NewFile {
 public:
  explicit NewFile(const fs::path& target) : target_(target), temporary_(target.string() + ".tmp") {
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("cannot be created");
  }
  ~NewFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!done_) ::unlink(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(const void* data, size_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t n = ::write(descriptor_, at, bytes);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot be written");
      at += n;
      bytes -= size_t(n);
    }
  }
  void replace_target() {
    if (::fsync(descriptor_) != 0) fail("cannot be flushed to the disk");
    const int closed = ::close(descriptor_);
    descriptor_ = -1;
    if (closed != 0) fail("cannot be closed");
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot take the place of the old file");
    done_ = true;
    sync_folder();
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int code = errno;
    throw DataError(str(target_.string(), ": the new file ", what, ": ", std::generic_category().message(code),
                        "; expected a writable folder with room; an older file is left as it was"));
  }
  /// Without this the rename itself may be lost when the machine goes down. Some file systems refuse it; then it is
  /// up to them.
  void sync_folder() const {
    const fs::path folder = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    ::fsync(descriptor);
    ::close(descriptor);
  }

  fs::path target_, temporary_;
  int descriptor_ = -1;
  bool done_ = false;
};

}  // namespace

TensorFile read_safetensors(const fs::path& path) { return Reader(path).read(); }

void write_safetensors(const fs::path& path, const TensorFile& file) {
  const std::string header = header_of(file);
  std::array<uint8_t, kLengthBytes> length{};
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = uint8_t(header.size() >> (8 * i));
  NewFile out(path);
  out.write(length.data(), length.size());
  out.write(header.data(), header.size());
  for (const auto& [name, a] : file.arrays) out.write(a.bytes.data(), a.bytes.size());
  out.replace_target();
}

}  // namespace sluice
