// CSV over one buffer: memchr finds quotes and separators, fields are views.
#include "data/csv.h"

#include <algorithm>

#include "data/utf8.h"
#include "engine/error.h"

namespace sluice {

CsvReader::CsvReader(const std::filesystem::path& path, size_t fields)
    : path_(path), text_(read_utf8_file(path)), expected_(fields) {}

void CsvReader::fail(int64_t line, const std::string& what) const {
  throw DataError(str(path_.string(), ":", line, ": ", what));
}

bool CsvReader::next() {
  fields_.clear();
  first_line_ = line_;
  if (at_ == text_.size()) return false;
  do {
    const bool is_quoted = at_ < text_.size() && text_[at_] == '"';
    fields_.push_back(is_quoted ? quoted() : unquoted());
  } while (!end_of_field());
  if (expected_ == 0) expected_ = fields_.size();
  if (fields_.size() != expected_) fail(str(fields_.size(), " fields, expected ", expected_));
  return true;
}

/// The field behind an opening quote. Pairs of quotes become one by moving what follows towards the field's start.
std::string_view CsvReader::quoted() {
  const int64_t opened = line_;
  const size_t begin = ++at_;
  size_t end = begin;  // of what is kept
  while (true) {
    const size_t quote = text_.find('"', at_);
    if (quote == std::string::npos) fail(opened, "a quote that is never closed, expected another before the end");
    const auto from = text_.begin() + std::ptrdiff_t(at_), to = text_.begin() + std::ptrdiff_t(quote);
    line_ += std::count(from, to, '\n');
    if (end != at_) std::copy(from, to, text_.begin() + std::ptrdiff_t(end));
    end += quote - at_;
    at_ = quote + 1;
    if (at_ == text_.size() || text_[at_] != '"') return std::string_view(text_).substr(begin, end - begin);
    text_[end++] = '"';
    ++at_;
  }
}

std::string_view CsvReader::unquoted() {
  const size_t begin = at_;
  at_ = std::min(text_.find_first_of(",\"\r\n", begin), text_.size());
  if (at_ < text_.size() && text_[at_] == '"')
    fail(line_, "a quote inside a field that does not start with one, expected the whole field in quotes");
  return std::string_view(text_).substr(begin, at_ - begin);
}

/// Steps over what stands behind a field. True when the record ends there.
bool CsvReader::end_of_field() {
  if (at_ == text_.size()) return true;
  if (text_[at_] == ',') {
    ++at_;
    return false;
  }
  if (text_[at_] == '\r') {
    if (at_ + 1 == text_.size() || text_[at_ + 1] != '\n')
      fail(line_, "a carriage return that ends no line, expected CR LF or quotes round the field");
    ++at_;
  }
  if (text_[at_] != '\n')
    fail(line_, str("'", text_[at_], "' behind a closing quote, expected a comma or the end of the line"));
  ++at_;
  ++line_;
  return true;
}

std::string csv_quoted(std::string_view field) {
  std::string out = "\"";
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace sluice
