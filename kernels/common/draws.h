// Philox for vector registers: sixteen neighbouring counters at a time, as dropout's draws are ordered.
#pragma once

#include <cstdint>

#include "kernels/common/context.h"
#include "kernels/common/philox.h"

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// u[16 w + lane] = the uniform draw of word w at counter (first + lane, high), for w < 4 and lane < 16.
inline void draw_sixteen(PhiloxKey key, uint64_t first, uint64_t high, float* u) {
#pragma omp simd
  for (uint64_t lane = 0; lane < 16; ++lane) {
    const Philox4 words = philox(key, first + lane, high);
    u[lane] = uniform(words.v[0]);
    u[16 + lane] = uniform(words.v[1]);
    u[32 + lane] = uniform(words.v[2]);
    u[48 + lane] = uniform(words.v[3]);
  }
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
