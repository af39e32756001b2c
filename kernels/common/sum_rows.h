// Sums down the columns of a matrix on a CPU: in blocks of rows that are added in order, whoever asks and however the
// columns are cut.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/context.h"

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

template <class T>
struct Matrix {
  const T* at;
  int64_t rows, cols;
};

/// out[j] = sum over rows of factor(row) m[row, begin + j] for j below count, which is at most kCols.
template <int64_t kCols, class T, class Factor>
void sum_rows(const Matrix<T>& m, int64_t begin, int64_t count, Factor factor, float* out) {
  constexpr int64_t kRows = 256;  // summed before they are added to the total
  std::fill_n(out, count, 0.0f);
  for (int64_t first = 0; first < m.rows; first += kRows) {
    float part[kCols] = {};
    for (int64_t r = first; r < std::min(m.rows, first + kRows); ++r) {
      const T* row = m.at + r * m.cols + begin;
      const float f = factor(r);
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) part[j] += f * float(row[j]);
    }
    for (int64_t j = 0; j < count; ++j) out[j] += part[j];
  }
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
