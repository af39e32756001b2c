// The segment table of an arena: which stretches of the flat arrays an update touches, and with which group's settings.
#pragma once

#include "kernels/common/step_scalars.h"

namespace sluice {

/// One row of the table, an i64 tensor [segments, 3]. Rows ascend by offset and do not overlap; elements outside every
/// row are left alone.
struct SegmentRow {
  int64_t offset, count;  // elements
  int64_t group;          // [0, kMaxGroups)
};
static_assert(sizeof(SegmentRow) == 3 * sizeof(int64_t));

/// Throws unless every array of an update has the shape [n] and the table, scalars and flag are what they should be.
inline void expect_update(const char* op, int64_t n, const ConstRef& segments, const ConstRef& scalars,
                          const ConstRef& finite) {
  expect_dtype(op, "segments", segments.dtype, DType::kI64);
  expect_shape(op, "segments", segments.shape, {segments.shape.rank() > 0 ? segments.dim(0) : 0, 3});
  expect_step_scalars(op, scalars);
  if (finite.defined()) {
    expect_dtype(op, "finite", finite.dtype, DType::kI32);
    expect_shape(op, "finite", finite.shape, {1});
  }
  if (n > 0 && segments.dim(0) > n) throw ShapeError(str(op, ": more segments than the ", n, " elements"));
}
inline void expect_flat(const char* op, const char* what, const ConstRef& got, int64_t n, DType dtype) {
  expect_dtype(op, what, got.dtype, dtype);
  expect_shape(op, what, got.shape, {n});
}
/// Where an update puts the new weights: undefined, or an array of its own.
inline void expect_next(const char* op, int64_t n, const ConstRef& w, const ConstRef& next) {
  if (!next.defined()) return;
  expect_flat(op, "next", next, n, DType::kF32);
  if (n > 0 && next.data == w.data)
    throw ShapeError(str(op, ": next is w, expected an array of its own, or none to update in place"));
}

}  // namespace sluice
