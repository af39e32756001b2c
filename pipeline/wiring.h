// How stages hang together, as data: the bundles between them and what the learning rule asks of a schedule.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/module.h"
#include "pipeline/instances.h"

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

/// Weights that a pass reads: those behind `version` updates of its stage, or what they are foretold to be `ahead`
/// steps later. Updates count from the start of the run.
struct WeightRead {
  int64_t version = 0, ahead = 0;
  bool operator==(const WeightRead&) const = default;
};

/// Where a pass stands when it is queued.
struct PassAt {
  int worker = 0, workers = 1;  // of its stage, in the order of the pipeline
  int64_t mb = 0;
  int mbs_per_step = 1;
  int64_t updates = 0;   // of its stage so far
  WeightRead forward{};  // backward: what the micro-batch's forward read
};
/// What a learning rule makes passes read. Depends on nothing else, so that plans are checked before they run.
using WeightsRead = WeightRead (*)(const PassAt& at);

enum class Pass : uint8_t { kForward, kBackward };

/// The weights as they are.
WeightRead newest_weights(const PassAt& at);
/// Backward: the weights of the forward.
WeightRead forward_weights(const PassAt& at);

/// What validate() and add_transfers() need to know.
struct Wiring {
  int stages = 0;             // or instances of stages
  std::vector<Edge> edges;    // in ascending order of (to, from)
  bool error_crosses = true;  // the error of a stage comes from the stages after it, besides its own losses
  bool synchronous = true;    // no update of a stage between forward and backward of a micro-batch
  WeightsRead forward = newest_weights, backward = newest_weights;
  /// The pass whose weights a recomputation reads: with forward's it gives what forward gave; with backward's the whole
  /// gradient is that of one version, and none is kept for it.
  Pass recompute = Pass::kForward;
  int depth = 0;  // slots of every channel; 0: what each receiver holds at once, and one more to fill meanwhile
  Instances instances{};

  /// Whether the bundle of this micro-batch goes along the edge: not one between other instances.
  bool carries(const Edge& e, int64_t mb) const {
    return instances.computes(e.from, mb) && instances.computes(e.to, mb);
  }
  bool gradient_crosses(const Edge& e) const { return error_crosses && e.differentiable(); }
};

/// A stage's ports, as its body declares them.
struct StagePorts {
  std::vector<Port> in, out;
};

/// Links each input to the nearest earlier stage with an output of that name; a port that is read two stages on
/// gets an edge of its own. Throws ScheduleError when there is none or the dtypes differ.
std::vector<Edge> route(const std::vector<StagePorts>& stages);

/// Throws ScheduleError where the wiring has instances, but not `count` of them.
void expect_instances(const Wiring& wiring, size_t count);

/// One differentiable value from each stage to the next.
std::vector<Edge> chain(int stages);

}  // namespace sluice
