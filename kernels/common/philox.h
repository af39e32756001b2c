// Philox 4x32-10 (Salmon et al., SC 2011): four 32-bit words from a 64-bit key and a 128-bit counter.
#pragma once

#include <cstdint>

#include "kernels/common/hd.h"

namespace sluice {

struct PhiloxKey {
  uint32_t a = 0, b = 0;
};
struct Philox4 {
  uint32_t v[4];
};

// Each instruction set gets its own copy: the linker must not mix them.
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

SLUICE_HD Philox4 philox(PhiloxKey k, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c0 = uint32_t(counter_low), c1 = uint32_t(counter_low >> 32);
  uint32_t c2 = uint32_t(counter_high), c3 = uint32_t(counter_high >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k.a;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k.b;
    c3 = uint32_t(p0);
    k.a += 0x9E3779B9u;
    k.b += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// [0, 1), 24 bits.
SLUICE_HD float uniform(uint32_t word) { return float(word >> 8) * 5.9604645e-8f; }

}  // namespace SLUICE_ISA or host
}  // namespace sluice
