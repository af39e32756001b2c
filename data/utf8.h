// UTF-8 (RFC 3629): checking, decoding, encoding and cutting into words; and whole files of it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// Where the first byte stands that is no UTF-8 (overlong forms, surrogates and cut sequences are none); npos: nowhere.
size_t find_invalid_utf8(std::string_view text);

/// The code point at text[at], and moves `at` behind it. The text must be valid.
char32_t decode_utf8(std::string_view text, size_t& at);
void append_utf8(char32_t code_point, std::string& to);

/// White space as Python's str.split has it: Unicode's, and the separators of files and records.
bool is_space(char32_t code_point);
/// What stands between white space; views of the text, which must be valid.
std::vector<std::string_view> split_words(std::string_view text);
/// The words with single spaces between them.
std::string joined_words(std::string_view text);

/// The whole file, without a byte order mark. Throws DataError with the path, and with the line of a byte that is no
/// UTF-8.
std::string read_utf8_file(const std::filesystem::path& path);

}  // namespace sluice
