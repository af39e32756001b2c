// Philox for vector registers: sixteen neighbouring counters at a time, as dropout's draws are ordered.
#pragma once

#include <cstdint>

#include "kernels/common/context.h"
#include "kernels/common/philox.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

// g++ 12 makes products of 64 bits (three instructions) and shuffles of the 32-bit products that Philox is made of.
// Written out, words stay in the lower halves of 64-bit lanes, whatever is above them: 2.1 times faster.
#if defined(__AVX512F__)
struct PhiloxLanes {
  static constexpr int kCount = 8;
  static constexpr __mmask8 kAll = 0xff;  // the unmasked forms warn of uninitialised values inside g++ 12's header
  __m512i v;
  static PhiloxLanes all(uint32_t word) { return {_mm512_set1_epi64(int64_t(word))}; }
  static PhiloxLanes from(uint64_t first) {
    return {_mm512_add_epi64(_mm512_set1_epi64(int64_t(first)), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7))};
  }
  PhiloxLanes times(PhiloxLanes o) const { return {_mm512_maskz_mul_epu32(kAll, v, o.v)}; }
  PhiloxLanes upper() const { return {_mm512_maskz_srli_epi64(kAll, v, 32)}; }
  PhiloxLanes mixed(PhiloxLanes a, PhiloxLanes b) const { return {_mm512_ternarylogic_epi64(v, a.v, b.v, 0x96)}; }
  void store_uniform(float* u) const {
    const __m512i lower = _mm512_and_si512(v, _mm512_set1_epi64(0xffffffff));
    const __m256i words = _mm512_maskz_cvtepi64_epi32(kAll, _mm512_maskz_srli_epi64(kAll, lower, 8));
    _mm256_storeu_ps(u, _mm256_mul_ps(_mm256_cvtepi32_ps(words), _mm256_set1_ps(5.9604645e-8f)));
  }
};
#elif defined(__AVX2__)
struct PhiloxLanes {
  static constexpr int kCount = 4;
  __m256i v;
  static PhiloxLanes all(uint32_t word) { return {_mm256_set1_epi64x(int64_t(word))}; }
  static PhiloxLanes from(uint64_t first) {
    return {_mm256_add_epi64(_mm256_set1_epi64x(int64_t(first)), _mm256_setr_epi64x(0, 1, 2, 3))};
  }
  PhiloxLanes times(PhiloxLanes o) const { return {_mm256_mul_epu32(v, o.v)}; }
  PhiloxLanes upper() const { return {_mm256_srli_epi64(v, 32)}; }
  PhiloxLanes mixed(PhiloxLanes a, PhiloxLanes b) const { return {_mm256_xor_si256(_mm256_xor_si256(v, a.v), b.v)}; }
  void store_uniform(float* u) const {
    const __m256i lower = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m256i words = _mm256_permutevar8x32_epi32(_mm256_srli_epi32(v, 8), lower);
    _mm_storeu_ps(u, _mm_mul_ps(_mm_cvtepi32_ps(_mm256_castsi256_si128(words)), _mm_set1_ps(5.9604645e-8f)));
  }
};
#endif

/// u[16 w + lane] = the uniform draw of word w at counter (first + lane, high), for w < 4 and lane < 16.
inline void draw_sixteen(PhiloxKey key, uint64_t first, uint64_t high, float* u) {
#if defined(__AVX2__)
  using Lanes = PhiloxLanes;
  constexpr int kParts = 16 / Lanes::kCount;
  const Lanes m0 = Lanes::all(0xD2511F53u), m1 = Lanes::all(0xCD9E8D57u);
  Lanes c0[kParts], c1[kParts], c2[kParts], c3[kParts];
  for (int p = 0; p < kParts; ++p) {
    c0[p] = Lanes::from(first + uint64_t(p * Lanes::kCount));
    c1[p] = c0[p].upper();
    c2[p] = Lanes::all(uint32_t(high));
    c3[p] = Lanes::all(uint32_t(high >> 32));
  }
  for (int round = 0; round < 10; ++round) {
    const Lanes a = Lanes::all(key.a), b = Lanes::all(key.b);
    for (int p = 0; p < kParts; ++p) {
      const Lanes p0 = c0[p].times(m0), p1 = c2[p].times(m1);
      c0[p] = p1.upper().mixed(c1[p], a);
      c1[p] = p1;
      c2[p] = p0.upper().mixed(c3[p], b);
      c3[p] = p0;
    }
    key.a += 0x9E3779B9u;
    key.b += 0xBB67AE85u;
  }
  for (int p = 0; p < kParts; ++p) {
    c0[p].store_uniform(u + p * Lanes::kCount);
    c1[p].store_uniform(u + 16 + p * Lanes::kCount);
    c2[p].store_uniform(u + 32 + p * Lanes::kCount);
    c3[p].store_uniform(u + 48 + p * Lanes::kCount);
  }
#else
#pragma omp simd
  for (uint64_t lane = 0; lane < 16; ++lane) {
    const Philox4 words = philox(key, first + lane, high);
    u[lane] = uniform(words.v[0]);
    u[16 + lane] = uniform(words.v[1]);
    u[32 + lane] = uniform(words.v[2]);
    u[48 + lane] = uniform(words.v[3]);
  }
#endif
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
