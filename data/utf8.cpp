// UTF-8 by the table of well-formed byte sequences (Unicode, table 3-7); runs of ASCII are skipped eight at a time.
#include "data/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "engine/error.h"

namespace sluice {
namespace {

uint8_t byte(char c) { return static_cast<uint8_t>(c); }
bool continues(char c) { return (byte(c) & 0xC0u) == 0x80u; }

/// Bytes of the sequence at text[at]; 0 where there is no valid one.
size_t sequence_length(std::string_view text, size_t at) {
  const uint8_t lead = byte(text[at]);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() - at < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if (!continues(text[at + i])) return 0;
  const uint8_t second = byte(text[at + 1]);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool no_character = (lead == 0xED && second >= 0xA0) || (lead == 0xF4 && second >= 0x90);
  return overlong || no_character ? 0 : length;
}

bool eight_ascii(const char* at) {
  uint64_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (text.size() - at >= 8 && eight_ascii(text.data() + at)) {
      at += 8;
      continue;
    }
    const size_t length = sequence_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

char32_t decode_utf8(std::string_view text, size_t& at) {
  const uint8_t lead = byte(text[at++]);
  if (lead < 0x80) return lead;
  const int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t code_point = lead & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) code_point = code_point << 6 | (byte(text[at++]) & 0x3Fu);
  return code_point;
}

void append_utf8(char32_t c, std::string& to) {
  const auto put = [&](uint32_t b) { to += static_cast<char>(b); };
  if (c < 0x80) {
    put(c);
    return;
  }
  if (c < 0x800) {
    put(0xC0u | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0u | c >> 12);
    } else {
      put(0xF0u | c >> 18);
      put(0x80u | (c >> 12 & 0x3Fu));
    }
    put(0x80u | (c >> 6 & 0x3Fu));
  }
  put(0x80u | (c & 0x3Fu));
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    if (!is_space(decode_utf8(text, at))) continue;
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = at;
  }
  if (begin < text.size()) words.push_back(text.substr(begin));
  return words;
}

std::string joined_words(std::string_view text) {
  std::string joined;
  for (const std::string_view word : split_words(text)) joined.append(joined.empty() ? "" : " ").append(word);
  return joined;
}

std::string read_utf8_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in || std::filesystem::is_directory(path))
    throw DataError(str(path.string(), ": no such file or not readable, expected a text in UTF-8"));
  std::string text(size_t(std::filesystem::file_size(path)), '\0');
  in.read(text.data(), std::streamsize(text.size()));
  if (size_t(in.gcount()) != text.size())
    throw DataError(str(path.string(), ": ", in.gcount(), " bytes could be read, expected ", text.size()));
  const size_t bad = find_invalid_utf8(text);
  if (bad != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + std::ptrdiff_t(bad), '\n');
    throw DataError(str(path.string(), ":", line, ": a byte that is no UTF-8, expected a text in UTF-8"));
  }
  if (text.rfind("\xEF\xBB\xBF", 0) == 0) text.erase(0, 3);
  return text;
}

}  // namespace sluice
