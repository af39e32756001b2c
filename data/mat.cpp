// MAT reader: walks elements in memory, and inflates those that are compressed.
#include "data/mat.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <span>

#include "engine/tensor.h"

namespace sluice {
namespace {

using Bytes = std::span<const uint8_t>;
constexpr uint32_t kMatrix = 14, kCompressed = 15;  // types of elements
constexpr size_t kHeader = 128;

template <class T>
T little_endian(const uint8_t* from) {  // so is every machine that this runs on
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

/// Bytes of a value; 0: not a number.
int64_t width(uint32_t type) {
  constexpr int64_t kWidths[] = {0, 1, 1, 2, 2, 4, 4, 4, 0, 8};
  return type < std::size(kWidths) ? kWidths[type] : 0;
}

struct Element {
  uint32_t type = 0;
  Bytes data;
};

class MatFile {
 public:
  explicit MatFile(const std::filesystem::path& path) : path_(path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) fail("no such file, expected a MATLAB file of version 5");
    bytes_.resize(size_t(std::filesystem::file_size(path)));
    in.read(reinterpret_cast<char*>(bytes_.data()), std::streamsize(bytes_.size()));
    if (size_t(in.gcount()) != bytes_.size()) fail(str(in.gcount(), " bytes could be read, expected ", bytes_.size()));
    check_header();
  }

  std::vector<MatArray> find(const std::vector<std::string>& names) const {
    std::vector<std::optional<MatArray>> found(names.size());
    std::string held;
    for (Bytes rest = Bytes(bytes_).subspan(kHeader); !rest.empty();) {
      Element e = next(rest);
      std::vector<uint8_t> inflated;
      if (e.type == kCompressed) {
        inflated = inflate_all(e.data);
        Bytes inside(inflated);
        e = next(inside);
      }
      if (e.type != kMatrix) continue;
      Bytes parts = e.data;
      const Element flags = next(parts), dims = next(parts), called = next(parts);
      const std::string name(called.data.begin(), called.data.end());
      const auto at = std::find(names.begin(), names.end(), name);
      if (at != names.end()) found[size_t(at - names.begin())] = array(name, flags, dims, parts);
      held += str(held.empty() ? "'" : ", '", name, "'");
    }
    std::vector<MatArray> arrays;
    for (size_t i = 0; i < names.size(); ++i) {
      if (!found[i]) fail(str("holds ", held.empty() ? "no arrays" : held, ", expected an array '", names[i], "'"));
      arrays.push_back(std::move(*found[i]));
    }
    return arrays;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw DataError(str(path_.string(), ": ", what)); }

  void check_header() const {
    if (bytes_.size() < kHeader)
      fail(str(bytes_.size(), " bytes, expected a MATLAB file, which has a header of ", kHeader));
    const std::string order(bytes_.begin() + 126, bytes_.begin() + 128);
    if (order == "MI") fail("a big-endian MATLAB file, expected a little-endian one: save it again on a PC");
    if (order != "IM" || bytes_[125] != 1)
      fail("not a MATLAB file of version 5 (its header has no 0x0100 and 'IM' at its end), expected one (save -v7)");
  }

  /// Cuts the next element off `rest`. A small one keeps its data in the second half of its tag.
  Element next(Bytes& rest) const {
    if (rest.size() < 8) fail(str("cut: ", rest.size(), " bytes where an element begins, expected at least 8"));
    const auto word = little_endian<uint32_t>(rest.data());
    const bool is_small = word >> 16 != 0;
    const uint32_t type = is_small ? word & 0xffffu : word;
    const size_t size = is_small ? word >> 16 : little_endian<uint32_t>(rest.data() + 4);
    const size_t begin = is_small ? 4 : 8;
    if (size > (is_small ? 4 : rest.size() - begin))
      fail(str("an element of ", size, " bytes, expected at most the ", is_small ? 4 : rest.size() - begin,
               " that are left"));
    const Element e{type, rest.subspan(begin, size)};
    const size_t padded = type == kCompressed || is_small ? size : (size + 7) / 8 * 8;
    rest = rest.subspan(is_small ? 8 : std::min(rest.size(), begin + padded));
    return e;
  }

  /// A zlib stream that is one element.
  std::vector<uint8_t> inflate_all(Bytes packed) const {
    z_stream z{};
    if (inflateInit(&z) != Z_OK) fail("zlib cannot start, expected memory for it");
    const std::unique_ptr<z_stream, int (*)(z_streamp)> closed(&z, inflateEnd);
    z.next_in = const_cast<Bytef*>(packed.data());  // zlib only reads it
    z.avail_in = uInt(packed.size());
    std::vector<uint8_t> out(8);
    expand(z, out, 0);
    const auto size = size_t(little_endian<uint32_t>(out.data() + 4));
    // Deflate shrinks at most 1032 times, so an element that announces more is wrong: nothing is allocated on its word.
    if (size / 1032 > packed.size())
      fail(str("a compressed element announces ", size, " bytes, expected at most ", packed.size() * 1032));
    out.resize(8 + size);
    expand(z, out, 8);
    uint8_t extra = 0;  // the stream's checksum is compared at its end, so that is read too
    z.next_out = &extra;
    z.avail_out = 1;
    const int code = inflate(&z, Z_FINISH);
    if (code != Z_STREAM_END || z.avail_out == 0)
      fail(str("broken compressed element (", z.msg != nullptr ? z.msg : "its length", "), expected a whole one"));
    return out;
  }
  void expand(z_stream& z, std::vector<uint8_t>& out, size_t from) const {
    z.next_out = out.data() + from;
    z.avail_out = uInt(out.size() - from);
    while (z.avail_out > 0) {
      const int code = inflate(&z, Z_NO_FLUSH);
      if (code == Z_OK || (code == Z_STREAM_END && z.avail_out == 0)) continue;
      fail(str("broken compressed element (", z.msg != nullptr ? z.msg : "cut", "), expected a whole one"));
    }
  }

  MatArray array(const std::string& name, const Element& flags, const Element& dims, Bytes rest) const {
    const auto bad = [&](const std::string& what) { fail(str("array '", name, "' ", what)); };
    if (flags.data.size() != 8) bad(str("has ", flags.data.size(), " bytes of flags, expected 8"));
    const uint8_t kind = flags.data[0];  // 6 to 15 are double, single and integers
    if (kind < 6 || kind > 15) bad(str("is of class ", int(kind), ", expected numbers (6 to 15)"));
    if ((flags.data[1] & 8) != 0) bad("is complex, expected real numbers");
    MatArray a;
    double count = 1;
    for (size_t i = 0; i + 4 <= dims.data.size(); i += 4) {
      a.dims.push_back(little_endian<int32_t>(dims.data.data() + i));
      if (a.dims.back() < 0) bad(str("has a dimension of ", a.dims.back(), ", expected none below 0"));
      count *= double(a.dims.back());
    }
    const Element values = next(rest);
    if (width(values.type) == 0) bad(str("is stored as type ", values.type, ", expected numbers"));
    if (count * double(width(values.type)) != double(values.data.size()))
      bad(str("has ", values.data.size(), " bytes, expected ", count * double(width(values.type)),
              " for its dimensions"));
    a.type = MatType(values.type);
    a.bytes.assign(values.data.begin(), values.data.end());
    return a;
  }

  std::filesystem::path path_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

int64_t MatArray::size() const { return int64_t(bytes.size()) / width(uint32_t(type)); }

double MatArray::value(int64_t i) const {
  const uint8_t* at = bytes.data() + i * width(uint32_t(type));
  switch (type) {
    case MatType::kI8:
      return double(little_endian<int8_t>(at));
    case MatType::kU8:
      return double(*at);
    case MatType::kI16:
      return double(little_endian<int16_t>(at));
    case MatType::kU16:
      return double(little_endian<uint16_t>(at));
    case MatType::kI32:
      return double(little_endian<int32_t>(at));
    case MatType::kU32:
      return double(little_endian<uint32_t>(at));
    case MatType::kF32:
      return double(little_endian<float>(at));
    case MatType::kF64:
      return little_endian<double>(at);
  }
  return 0;
}

std::vector<MatArray> read_mat(const std::filesystem::path& path, const std::vector<std::string>& names) {
  return MatFile(path).find(names);
}

}  // namespace sluice
