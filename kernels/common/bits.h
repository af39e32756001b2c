// One bit an element: bit i % 8 of byte i / 8, the lowest first, is that of element i in memory order. Eight elements
// are the unit of a CPU's vector and of a GPU's thread.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/common/hd.h"
#include "kernels/common/ref.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace sluice {

/// Bytes that hold a bit for each of n elements; the spare bits of the last are 0.
SLUICE_HD constexpr int64_t packed_bytes(int64_t n) { return (n + 7) / 8; }

/// For check(): `bits` are those of n elements.
inline void expect_bits(const char* op, const ConstRef& bits, int64_t n) {
  expect_dtype(op, "bits", bits.dtype, DType::kU8);
  expect_shape(op, "bits", bits.shape, {packed_bytes(n)});
}

#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// Bit k: v[k] > 0.
inline uint8_t positive_bits(const float (&v)[8]) {
#if defined(__AVX2__)  // g++ 12 makes eight shifts of it
  return uint8_t(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(v), _mm256_setzero_ps(), _CMP_GT_OQ)));
#else
  unsigned bits = 0;
  for (unsigned k = 0; k < 8; ++k) bits |= unsigned(v[k] > 0.0f) << k;
  return uint8_t(bits);
#endif
}

/// f(i, count) for the eights from `begin`, a multiple of 8, to `end`; count is a constant 8 but for the last, so that
/// loops over it vectorise. Inline, or what f refers to is read again after each byte that it writes.
template <class F>
[[gnu::always_inline]] inline void for_eights(int64_t begin, int64_t end, F&& f) {
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) f(i, std::integral_constant<int64_t, 8>());
  if (i < end) f(i, end - i);
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
