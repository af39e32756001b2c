// Sums and maxima over a range that vectorise, and whose order depends on nothing but the range: sixteen lanes.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/common/context.h"

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// Sum of term(i) for i in [begin, end). The same bits whatever the instruction set, since the lanes are fixed.
template <class Term>
float lane_sum(int64_t begin, int64_t end, Term&& term) {
  float lanes[16] = {};
  int64_t i = begin;
  for (; i + 16 <= end; i += 16) {
#pragma omp simd
    for (int64_t l = 0; l < 16; ++l) lanes[l] += term(i + l);
  }
  for (int64_t l = 0; i + l < end; ++l) lanes[l] += term(i + l);
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

/// Largest term(i) for i in [0, count); NaN is passed over, and an empty range gives -infinity.
template <class Term>
float lane_max(int64_t count, Term&& term) {
  float lanes[16];
  for (float& lane : lanes) lane = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
#pragma omp simd
    for (int64_t l = 0; l < 16; ++l) lanes[l] = term(i + l) > lanes[l] ? term(i + l) : lanes[l];
  }
  for (int64_t l = 0; i + l < count; ++l) lanes[l] = term(i + l) > lanes[l] ? term(i + l) : lanes[l];
  float top = lanes[0];
  for (float lane : lanes) top = lane > top ? lane : top;
  return top;
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
