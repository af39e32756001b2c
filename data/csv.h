// Strict reader of CSV files (RFC 4180): quoted fields with "" and line breaks in them, LF or CRLF, UTF-8.
//
// Our own, since the small libraries of the distributions do not fit: libcsv drops blank lines and takes a lone CR for
// the end of a record, the others do not read line breaks inside quotes, and none says on which line an error is.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class CsvReader {
 public:
  /// Reads the whole file. `fields` of every record; 0: as many as the first record has. Throws DataError "path:line:
  /// ..." for bytes that are no UTF-8.
  explicit CsvReader(const std::filesystem::path& path, size_t fields = 0);

  /// Goes to the next record; false at the end. Throws DataError "path:line: ..." for another number of fields, a quote
  /// inside an unquoted field, text behind a closing quote, a quote that is never closed (with the line where it was
  /// opened) and a carriage return that ends no line.
  bool next();
  /// The record's fields, unquoted. They live as long as the reader.
  const std::vector<std::string_view>& fields() const { return fields_; }
  /// The line on which the record starts, from 1.
  int64_t line() const { return first_line_; }
  /// Throws DataError "path:line: what" for the record.
  [[noreturn]] void fail(const std::string& what) const { fail(first_line_, what); }

 private:
  [[noreturn]] void fail(int64_t line, const std::string& what) const;
  std::string_view quoted();
  std::string_view unquoted();
  bool end_of_field();

  std::filesystem::path path_;
  std::string text_;  // quoted fields with "" are shortened in place
  size_t at_ = 0, expected_ = 0;
  int64_t line_ = 1, first_line_ = 0;
  std::vector<std::string_view> fields_;
};

/// A field as it is written to such a file: always quoted, `"` doubled.
std::string csv_quoted(std::string_view field);

}  // namespace sluice
