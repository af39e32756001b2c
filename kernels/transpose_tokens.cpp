// CPU half of the transposition: squares of 8 turn in registers; a task goes down 16 columns, a line of memory each
// row.
#include "kernels/transpose_tokens.h"

#include <type_traits>

#include "kernels/common/parallel.h"
#include "kernels/common/some_columns.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kSquare = 8, kStrip = 16;
using Whole = std::integral_constant<int64_t, kSquare>;

template <class T>
struct Turned {
  const T* x;
  const T* residual;  // or null
  T* y;
  int64_t rows, cols;  // of x
};

/// The square of x at row r and column c, of which down x across elements are inside: constants where all are, so that
/// loops over them vectorise.
template <class T, class Count>
void turn(const Turned<T>& m, int64_t r, int64_t c, Count down, Count across) {
  float square[kSquare * kSquare];
  const T* from = m.x + r * m.cols + c;
  if constexpr (std::is_same_v<Count, Whole>) {
    Eight v[kSquare];
    for (int64_t i = 0; i < kSquare; ++i) v[i] = eight(from + i * m.cols, true);
    transpose_eight(v, square, kSquare);
  } else {
    for (int64_t i = 0; i < down; ++i)
      for (int64_t j = 0; j < across; ++j) square[j * kSquare + i] = float(from[i * m.cols + j]);
  }
  for (int64_t j = 0; j < across; ++j) {
    const int64_t at = (c + j) * m.rows + r;
    T* out = m.y + at;
    const float* in = square + j * kSquare;
    if (m.residual == nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < down; ++i) store(out[i], in[i]);
    } else {
      const T* add = m.residual + at;
#pragma omp simd
      for (int64_t i = 0; i < down; ++i) store(out[i], in[i] + float(add[i]));
    }
  }
}

}  // namespace

template <>
void TransposeTokens::cpu<kIsa>(CpuContext& c) const {
  const int64_t rows = x.dim(1), cols = x.dim(2), strips = (cols + kStrip - 1) / kStrip;
  visit_float(x.dtype, [&]<class T>() {
    parallel_for(c, x.dim(0) * strips, [&](int64_t task) {
      const int64_t sample = task / strips, first = (task - sample * strips) * kStrip, at = sample * rows * cols;
      const Turned<T> m{x.as<T>() + at, residual.defined() ? residual.as<T>() + at : nullptr, y.as<T>() + at, rows,
                        cols};
      for (int64_t r = 0; r < rows; r += kSquare)
        for (int64_t k = first; k < std::min(cols, first + kStrip); k += kSquare) {
          const int64_t down = std::min(kSquare, rows - r), across = std::min(kSquare, cols - k);
          if (down == kSquare && across == kSquare)
            turn(m, r, k, Whole(), Whole());
          else
            turn(m, r, k, down, across);
        }
    });
  });
}

}  // namespace sluice::kernels
