// CPU halves of concatenation: a row's columns of each part are one copy.
#include "kernels/concat.h"

#include <cstring>

#include "kernels/common/parallel.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kBlock = 64;  // rows of a task

/// copy(part, byte of the part, byte of the whole, bytes) for the columns of each part in the rows [begin, end).
template <class R, class Copy>
void each_piece(const ColumnParts<R>& parts, int64_t row_bytes, int64_t begin, int64_t end, Copy&& copy) {
  for (int64_t row = begin; row < end; ++row) {
    int64_t at = row * row_bytes;
    for (int i = 0; i < parts.count; ++i) {
      const R& part = parts.v[size_t(i)];
      const int64_t bytes = part.shape.cols() * size_of(part.dtype);
      copy(part, row * bytes, at, size_t(bytes));
      at += bytes;
    }
  }
}

}  // namespace

template <>
void Concat::cpu<kIsa>(CpuContext& c) const {
  if (y.numel() == 0) return;
  const int64_t row_bytes = y.shape.cols() * size_of(y.dtype);
  parallel_blocks(c, y.shape.rows(), kBlock, [&](int64_t begin, int64_t end) {
    each_piece(parts, row_bytes, begin, end, [&](const ConstRef& part, int64_t from, int64_t to, size_t bytes) {
      if (bytes > 0) std::memcpy(y.as<char>() + to, part.as<char>() + from, bytes);
    });
  });
}

template <>
void ConcatGrad::cpu<kIsa>(CpuContext& c) const {
  if (dy.numel() == 0) return;
  const int64_t row_bytes = dy.shape.cols() * size_of(dy.dtype);
  parallel_blocks(c, dy.shape.rows(), kBlock, [&](int64_t begin, int64_t end) {
    each_piece(dparts, row_bytes, begin, end, [&](const Ref& part, int64_t to, int64_t from, size_t bytes) {
      if (bytes > 0) std::memcpy(part.as<char>() + to, dy.as<char>() + from, bytes);
    });
  });
}

}  // namespace sluice::kernels
