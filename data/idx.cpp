// idx reader over zlib, which passes plain files through.
#include "data/idx.h"

#include <zlib.h>

#include <memory>
#include <string>

#include "engine/tensor.h"

namespace sluice {
namespace {

/// A plain or gzipped file that is read to its end. Every failure names the path.
class GzFile {
 public:
  explicit GzFile(const std::filesystem::path& path) : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_) fail("cannot be opened");
    gzbuffer(file_.get(), 1u << 17);
  }
  /// Exactly n bytes; `what` is the part of the file they belong to.
  void read(uint8_t* to, int64_t n, const char* what) {
    int64_t got = 0;
    while (got < n) {
      const int part = gzread(file_.get(), to + got, unsigned(std::min<int64_t>(n - got, 1 << 24)));
      if (part < 0) fail(error_text());
      if (part == 0) break;
      got += part;
    }
    if (got < n) fail(str("ends after ", got, " bytes of its ", what, ", expected ", n));
  }
  void expect_end() {
    uint8_t extra = 0;
    const int got = gzread(file_.get(), &extra, 1);
    if (got < 0) fail(error_text());
    if (got > 0) fail("goes on after the data that its header announces");
  }
  [[noreturn]] void fail(const std::string& what) const { throw DataError(str(path_.string(), ": ", what)); }

 private:
  std::string error_text() const {
    int code = Z_OK;
    const char* text = gzerror(file_.get(), &code);
    return str("broken gzip stream (", text, "), expected a complete file");
  }
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

uint32_t big_endian(const uint8_t* b) {
  return uint32_t(b[0]) << 24 | uint32_t(b[1]) << 16 | uint32_t(b[2]) << 8 | uint32_t(b[3]);
}

std::string hex(uint32_t v) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string s = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) s += kDigits[v >> shift & 15u];
  return s;
}

std::filesystem::path plain_or_gzipped(const std::filesystem::path& path) {
  const std::filesystem::path gz = path.string() + ".gz";
  if (std::filesystem::is_regular_file(path)) return path;
  if (std::filesystem::is_regular_file(gz)) return gz;
  throw DataError(str(path.string(), ": no such file, nor ", gz.filename().string(), "; expected an idx file"));
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path, int rank) {
  const std::filesystem::path found = plain_or_gzipped(path);
  GzFile file(found);
  uint8_t word[4];
  file.read(word, 4, "magic number");
  const uint32_t magic = big_endian(word), expected = 0x0800u | uint32_t(rank);
  if (magic != expected)
    file.fail(
        str("magic number is ", hex(magic), ", expected ", hex(expected), " (unsigned bytes, ", rank, " dimensions)"));
  // Deflate shrinks at most 1032 times, so a header that announces more is wrong: nothing is allocated on its word.
  const double most = double(std::filesystem::file_size(found)) * 1032.0;
  IdxArray array;
  double total = 1.0;
  for (int i = 0; i < rank; ++i) {
    file.read(word, 4, "dimensions");
    array.dims.push_back(int64_t(big_endian(word)));
    total *= double(array.dims.back());
  }
  if (total > most) file.fail(str("header announces ", total, " bytes, expected at most ", most, " for its size"));
  array.bytes.resize(size_t(total));
  file.read(array.bytes.data(), int64_t(total), "data");
  file.expect_end();
  return array;
}

}  // namespace sluice
