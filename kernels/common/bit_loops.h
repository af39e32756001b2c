// The loops of CPU kernels that have one bit an element.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/common/bits.h"

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// Elements that are worked on at a time: loops longer than a register vectorise, and stay in the first-level cache.
inline constexpr int64_t kStretch = 512;

/// The numbers where they are, or converted.
template <class T>
const float* as_floats(const T* at, int64_t count, float* converted) {
  if constexpr (std::is_same_v<T, float>) return at;
#pragma omp simd
  for (int64_t k = 0; k < count; ++k) converted[k] = float(at[k]);
  return converted;
}

/// bits[0, packed_bytes(count)) = those of v[0, count).
inline void pack_positive(const float* v, int64_t count, uint8_t* bits) {
  for_eights(0, count, [=](int64_t i, auto some) {
    float eight[8] = {};
    std::copy_n(v + i, some, eight);
    bits[i / 8] = positive_bits(eight);
  });
}

/// All bits of an element, or none, for each bit of a byte: eight elements are kept or zeroed by one AND.
template <class T>
struct BitMasks {
  using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>;
  static_assert(sizeof(T) == sizeof(Word));
  std::array<std::array<Word, 8>, 256> of{};
  constexpr BitMasks() {
    for (size_t byte = 0; byte < 256; ++byte)
      for (size_t k = 0; k < 8; ++k) of[byte][k] = Word((byte >> k & 1) != 0 ? ~Word(0) : Word(0));
  }
};

/// out = in where the bit is set, else 0, for elements [begin, end), begin a multiple of 8. out may be in.
template <class T>
void keep_where_set(const uint8_t* bits, const T* in, T* out, int64_t begin, int64_t end) {
  static constexpr BitMasks<T> kMasks;
  for_eights(begin, end, [=](int64_t i, auto count) {
    typename BitMasks<T>::Word words[8];
    const auto& mask = kMasks.of[bits[i / 8]];
    std::memcpy(words, in + i, size_t(count) * sizeof(T));
    for (size_t k = 0; k < size_t(count); ++k) words[k] = typename BitMasks<T>::Word(words[k] & mask[k]);
    std::memcpy(out + i, words, size_t(count) * sizeof(T));
  });
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
