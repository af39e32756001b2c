// The only place where CPU and CUDA part.
#pragma once

#include "engine/annotate.h"
#include "engine/build_config.h"
#include "engine/stream.h"

namespace sluice {

/// Counts a kernel call in the stream's statistics.
void count_launch(const Stream& s, const Cost& cost);

/// Checks the call on the caller's line and queues it. Throws ShapeError or DTypeError before anything is queued.
template <KernelCall K>
void launch(const K& k, const Stream& s) {
  k.check();
  count_launch(s, k.cost());
  if (s.is_cpu())
    return s.enqueue([k](CpuContext& c) {
      if constexpr (kAnnotated) annotate(k.operands());
      run_cpu(k, c);
    });
  if constexpr (kWithCuda)
    return k.cuda(s.cuda());  // discarded, so never linked, in a CPU-only build
  else
    throw DeviceError(str(K::kName, ": this build has no CUDA"));
}

}  // namespace sluice
