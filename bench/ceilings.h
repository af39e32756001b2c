// What this machine can do at most with the team of a stream: memory traffic and matrix products.
#pragma once

#include "bench/case.h"

namespace sluice::bench {

/// Bytes per second and operations per second.
struct Ceiling {
  double bandwidth = 0, flops = 0;
};

class Ceilings {
 public:
  /// Takes three arrays of 4 times the last-level cache each, less where memory is short.
  explicit Ceilings(const Stream& s);
  /// One measurement: triad a = b + scalar c with ordinary stores, 3 arrays counted once each; and the best of three
  /// large GEMMs of the library. Runs on the worker. Updates in place may pass 100 % of the triad: its store to a third
  /// array reads that array first, which nobody counts.
  Ceiling measure(CpuContext& c);
  int64_t array_bytes() const { return a_.bytes(); }

 private:
  Tensor a_, b_, c_;
  std::vector<Rival> gemms_;
};

/// Seconds on the clock of this context's worker: with a team of 1 the worker's own CPU time, which a shared machine's
/// other programs hardly disturb; else wall time.
double now(const CpuContext& c);
/// Data and unified caches of the last level, or 32 MiB where the system does not say.
int64_t last_level_cache();

}  // namespace sluice::bench
