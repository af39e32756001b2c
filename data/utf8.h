// UTF-8 (RFC 3629): checking, decoding and encoding; and whole files of it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace sluice {

/// Where the first byte stands that is no UTF-8 (overlong forms, surrogates and cut sequences are none); npos: nowhere.
size_t find_invalid_utf8(std::string_view text);

/// The code point at text[at], and moves `at` behind it. The text must be valid.
char32_t decode_utf8(std::string_view text, size_t& at);
void append_utf8(char32_t code_point, std::string& to);

/// The whole file, without a byte order mark. Throws DataError with the path, and with the line of a byte that is no
/// UTF-8.
std::string read_utf8_file(const std::filesystem::path& path);

}  // namespace sluice
