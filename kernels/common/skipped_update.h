// What an update that is not finite leaves behind on the CPU: everything as it was, the old weights where new ones and
// forecasts were asked for.
#pragma once

#include "kernels/common/forecast.h"
#include "kernels/common/parallel_segments.h"

namespace sluice {

template <class Update>
void skip_update(const Update& u, const CpuContext& c) {
  const float* w = u.w.template as<float>();
  for (const Ref& to : {u.next, u.forecasts[0].to, u.forecasts[1].to}) {
    if (!to.defined()) continue;
    parallel_segments(c, u.segments, to.numel(), [=, out = to.as<float>()](int64_t begin, int64_t end, int64_t) {
      std::copy(w + begin, w + end, out + begin);
    });
  }
}

}  // namespace sluice
