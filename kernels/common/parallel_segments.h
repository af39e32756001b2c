// The CPU updates' loop: an arena's segments on the team. Blocks never depend on the team or on the segments.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/common/segments.h"

namespace sluice {

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
