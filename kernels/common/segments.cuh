// The loop of a whole-arena update on the device: four elements a thread, cut at the segments' ends.
#pragma once

#include "kernels/common/segments.h"
#include "kernels/common/vec.cuh"

namespace sluice {

/// The first row at or after `row` that ends behind element `at`; `rows` when there is none.
__device__ inline int64_t row_behind(const SegmentRow* table, int64_t row, int64_t rows, int64_t at) {
  int64_t end = rows;
  while (row < end) {
    const int64_t middle = (row + end) / 2;
    if (table[middle].offset + table[middle].count <= at)
      row = middle + 1;
    else
      end = middle;
  }
  return row;
}

/// f.operator()<N>(i, group) over the parts of segments in [0, n): N = 4 inside a segment when `packed`, 1 elsewhere.
template <class F>
__device__ inline void for_segments(const SegmentRow* table, int64_t rows, int64_t n, bool packed, F f) {
  int64_t row = 0;
  for (int64_t begin = 4 * global_thread(); begin < n; begin += 4 * grid_threads()) {
    const int64_t end = begin + 4 < n ? begin + 4 : n;
    row = row_behind(table, row, rows, begin);
    for (int64_t r = row; r < rows && table[r].offset < end; ++r) {
      const SegmentRow s = table[r];
      const int64_t from = s.offset > begin ? s.offset : begin,
                    to = s.offset + s.count < end ? s.offset + s.count : end;
      if (packed && to - from == 4)
        f.template operator()<4>(from, s.group);
      else
        for (int64_t i = from; i < to; ++i) f.template operator()<1>(i, s.group);
    }
  }
}

}  // namespace sluice
