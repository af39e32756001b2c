// The segment table of an arena: which stretches of the flat arrays an update touches, and with which group's settings.
#pragma once

#include "kernels/common/parallel.h"
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

/// f(begin, end, group) over the parts of segments inside fixed blocks of the n elements, on the team.
template <class F>
void parallel_segments(const CpuContext& c, const ConstRef& segments, int64_t n, F&& f) {
  const auto* first = segments.as<SegmentRow>();
  const auto* last = first + segments.dim(0);
  parallel_blocks(c, n, 16384, [&](int64_t begin, int64_t end) {
    const auto ends_before = [](const SegmentRow& s, int64_t at) { return s.offset + s.count <= at; };
    for (auto s = std::lower_bound(first, last, begin, ends_before); s != last && s->offset < end; ++s)
      f(std::max(begin, s->offset), std::min(end, s->offset + s->count), s->group);
  });
}

}  // namespace sluice
