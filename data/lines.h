// Reads a text file line by line, plain or gzipped.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

struct gzFile_s;

namespace sluice {

class LineReader {
 public:
  /// Throws DataError where the file cannot be opened.
  explicit LineReader(const std::filesystem::path& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Goes to the next line; false at the end. Throws DataError for a broken gzip stream.
  bool next();
  /// Without its LF or CR LF. Lives until the next call.
  std::string_view line() const { return line_; }
  int64_t number() const { return number_; }  // from 1
  /// Throws DataError "path:line: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  bool refill();
  std::filesystem::path path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile_s*)> file_;
  std::string buffer_;
  size_t at_ = 0;
  bool ended_ = false;
  std::string_view line_;
  int64_t number_ = 0;
};

}  // namespace sluice
