// MD5 (RFC 1321), for splits that publish their rule with it; not for security.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sluice {

std::array<uint8_t, 16> md5(std::string_view text);
/// The number that the digest's 32 hexadecimal digits spell, modulo `divisor`.
int md5_remainder(std::string_view text, int divisor);

}  // namespace sluice
