// How stages hang together, as data: the bundles between them and what the learning rule asks of a schedule.
#pragma once

#include <vector>

#include "layers/module.h"

namespace sluice {

/// Output `out` of the earlier stage is input `in` of the later one.
struct PortLink {
  int out = 0, in = 0;
  bool differentiable = true;
  bool operator==(const PortLink&) const = default;
};

/// The bundle that moves from one stage to a later one for each micro-batch. Its gradients go back the same way.
struct Edge {
  int from = 0, to = 0;
  std::vector<PortLink> links;
  bool differentiable() const {
    for (const PortLink& l : links)
      if (l.differentiable) return true;
    return false;
  }
  bool operator==(const Edge&) const = default;
};

/// Which weights a backward pass reads: the newest, or those that the forward pass of its micro-batch read.
enum class BackwardReads { kNewest, kForwardVersion };

/// What validate() and add_transfers() need to know.
struct Wiring {
  int stages = 0;
  std::vector<Edge> edges;    // in ascending order of (to, from)
  bool error_crosses = true;  // the error of a stage comes from the stages after it, besides its own losses
  int max_staleness = 0;      // updates of a stage that may lie between forward and backward of a micro-batch
  int versions = 1;           // weight versions that a stage can keep at once
  BackwardReads backward_reads = BackwardReads::kNewest;
  int depth = 0;  // slots of every channel; 0: what each receiver holds at once, and one more to fill meanwhile

  bool gradient_crosses(const Edge& e) const { return error_crosses && e.differentiable(); }
};

/// A stage's ports, as its body declares them.
struct StagePorts {
  std::vector<Port> in, out;
};

/// Links each input to the nearest earlier stage with an output of that name; a port that is read two stages on
/// gets an edge of its own. Throws ScheduleError when there is none or the dtypes differ.
std::vector<Edge> route(const std::vector<StagePorts>& stages);

/// One differentiable value from each stage to the next.
std::vector<Edge> chain(int stages);

}  // namespace sluice
