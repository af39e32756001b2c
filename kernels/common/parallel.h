// The CPU kernels' only loops over threads. Work is cut the same way whatever the team, so sums keep their order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/context.h"

#if defined(__SANITIZE_THREAD__)
#define SLUICE_SERIAL_TEAMS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLUICE_SERIAL_TEAMS 1
#endif
#endif

namespace sluice {

/// f(i) for i in [0, n), one contiguous share per thread.
template <class F>
void parallel_for([[maybe_unused]] const CpuContext& c, int64_t n, F&& f) {
#ifndef SLUICE_SERIAL_TEAMS  // ThreadSanitizer does not see libgomp's barriers
  if (c.team > 1 && n > 1) {
#pragma omp parallel for schedule(static) num_threads(c.team)
    for (int64_t i = 0; i < n; ++i) f(i);
    return;
  }
#endif
  for (int64_t i = 0; i < n; ++i) f(i);
}

/// f(begin, end) over blocks of `grain` elements; a block never depends on the team. For loops that vectorise.
template <class F>
void parallel_blocks(const CpuContext& c, int64_t n, int64_t grain, F&& f) {
  const int64_t blocks = (n + grain - 1) / grain;
  parallel_for(c, blocks, [&](int64_t b) { f(b * grain, std::min(n, (b + 1) * grain)); });
}

}  // namespace sluice
