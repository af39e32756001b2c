// MD5 (RFC 1321), one block of 64 bytes after another.
#include "data/md5.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

namespace sluice {
namespace {

/// floor(2^32 |sin(i + 1)|) (RFC 1321, 3.4).
std::array<uint32_t, 64> make_sines() {
  std::array<uint32_t, 64> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = uint32_t(std::abs(std::sin(double(i + 1))) * 4294967296.0);
  return table;
}

constexpr int kShifts[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

void add_block(const char* block, std::array<uint32_t, 4>& state) {
  static const std::array<uint32_t, 64> sines = make_sines();
  std::array<uint32_t, 16> words{};
  std::memcpy(words.data(), block, sizeof words);
  auto [a, b, c, d] = state;
  for (uint32_t i = 0; i < 64; ++i) {
    const uint32_t round = i / 16;
    const uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                           : round == 1 ? (d & b) | (~d & c)
                           : round == 2 ? b ^ c ^ d
                                        : c ^ (b | ~d);
    constexpr uint32_t kStep[4] = {1, 5, 3, 7}, kStart[4] = {0, 1, 5, 0};
    const uint32_t word = words[(kStep[round] * i + kStart[round]) % 16];
    const uint32_t sum = a + mixed + word + sines[i];
    a = d;
    d = c;
    c = b;
    b += std::rotl(sum, kShifts[round][i % 4]);
  }
  state = {state[0] + a, state[1] + b, state[2] + c, state[3] + d};
}

}  // namespace

std::array<uint8_t, 16> md5(std::string_view text) {
  std::string padded(text);
  padded += char(-128);
  padded.resize((padded.size() + 8 + 63) / 64 * 64 - 8, '\0');
  const uint64_t bits = uint64_t(text.size()) * 8;
  padded.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  std::array<uint32_t, 4> state{0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
  for (size_t at = 0; at < padded.size(); at += 64) add_block(padded.data() + at, state);
  std::array<uint8_t, 16> out{};
  std::memcpy(out.data(), state.data(), sizeof state);
  return out;
}

int md5_remainder(std::string_view text, int divisor) {
  int rest = 0;
  for (const uint8_t byte : md5(text)) rest = (rest * 256 + byte) % divisor;
  return rest;
}

}  // namespace sluice
