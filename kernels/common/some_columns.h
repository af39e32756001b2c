// A few columns of wide rows, as a head's of Q, K and V, for products in registers: read where they are, packed,
// transposed, and written back.
#pragma once

#include <cstring>
#include <type_traits>

#include "kernels/common/visit.h"

namespace sluice {
#if defined(SLUICE_ISA)
inline namespace SLUICE_ISA {
#else
inline namespace host {
#endif

/// Rows of floats.
struct Rows {
  float* at;
  int64_t row;  // distance
};

/// A few columns of a row are a few lines of a page of their own, which the hardware does not foresee. So each reader
/// asks for the columns behind its own: attention is 1.4 times faster once a batch is larger than the second-level
/// cache.
template <int kWrite, class T>
void fetch_ahead(const T* row, int64_t cols) {
  for (int64_t j = 0; j < cols; j += int64_t(64 / sizeof(T))) __builtin_prefetch(row + cols + j, kWrite, 2);
}

/// A few columns of neighbouring rows, and where their tensor ends.
template <class T>
struct Columns {
  const T* at;
  int64_t row, cols;  // distance of rows; how many are read
  const T* end;
  Columns from(int64_t first) const { return {at + first * row, row, cols, end}; }
  Columns beside(int64_t columns) const { return {at + columns, row, cols, end}; }
};

/// to[count, :] = `rows` rows, zero behind the columns and behind them.
template <class T>
void pack(const Columns<T>& from, int64_t rows, int64_t count, const Rows& to) {
  for (int64_t r = 0; r < count; ++r) {
    float* row = to.at + r * to.row;
    const int64_t inside = r < rows ? from.cols : 0;
    fetch_ahead<0>(from.at + r * from.row, inside);
#pragma omp simd
    for (int64_t j = 0; j < inside; ++j) row[j] = float(from.at[r * from.row + j]);
    for (int64_t j = inside; j < to.row; ++j) row[j] = 0.0f;
  }
}

/// `rows` rows as floats, `count` of which and whole tiles of columns may be read. Floats are read where they are if
/// the tensor goes on that far: other numbers behind the columns and behind the rows reach only sums that nobody uses.
/// Else packed.
template <class T>
Rows readable(const Columns<T>& from, int64_t rows, int64_t count, const Rows& scratch) {
  if constexpr (std::is_same_v<T, float>) {
    if ((count - 1) * from.row + scratch.row <= from.end - from.at) {
      for (int64_t r = 0; r < rows; ++r) fetch_ahead<0>(from.at + r * from.row, from.cols);
      return {const_cast<float*>(from.at), from.row};  // only products' right and left factors: never written
    }
  }
  pack(from, rows, count, scratch);
  return scratch;
}

using Eight = float __attribute__((vector_size(32)));

/// Eight numbers of a row, or zeroes.
template <class T>
Eight eight(const T* at, bool there) {
  Eight v{};
  if (!there) return v;
  if constexpr (std::is_same_v<T, float>)
    std::memcpy(&v, at, sizeof v);
  else
    for (int j = 0; j < 8; ++j) v[j] = float(at[j]);
  return v;
}

/// to[8, 8], its rows `row` apart, = the transpose of v, in three rounds of shuffles.
inline void transpose_eight(const Eight (&v)[8], float* to, int64_t row) {
  Eight pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * j + 1] = __builtin_shufflevector(pairs[i + j], pairs[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; ++i) {
    const Eight low = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    const Eight high = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    std::memcpy(to + i * row, &low, sizeof low);
    std::memcpy(to + (i + 4) * row, &high, sizeof high);
  }
}

/// to = the transpose of `rows` rows, zero behind them up to its width, a multiple of 8.
template <class T>
void transpose(const Columns<T>& from, int64_t rows, const Rows& to) {
  for (int64_t r = 0; r < to.row; r += 8) {
    int64_t j = 0;
    for (; j + 8 <= from.cols; j += 8) {
      Eight v[8];
      for (int i = 0; i < 8; ++i) v[i] = eight(from.at + (r + i) * from.row + j, r + i < rows);
      transpose_eight(v, to.at + j * to.row + r, to.row);
    }
    for (; j < from.cols; ++j)
      for (int64_t i = r; i < r + 8; ++i) to.at[j * to.row + i] = i < rows ? float(from.at[i * from.row + j]) : 0.0f;
  }
}

/// Rows of scratch back to where the columns are, each times its factor.
template <class T, class Factor>
void unpack(const Rows& from, int64_t rows, int64_t cols, T* to, int64_t to_row, Factor factor) {
  for (int64_t r = 0; r < rows; ++r) {
    const float f = factor(r);
    fetch_ahead<1>(to + r * to_row, cols);
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) store(to[r * to_row + j], from.at[r * from.row + j] * f);
  }
}

}  // namespace SLUICE_ISA or host
}  // namespace sluice
