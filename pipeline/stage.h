// A stage on its device: what the executor runs.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "optim/optimizer.h"
#include "pipeline/weight_versions.h"
#include "pipeline/wiring.h"

namespace sluice {

/// Whether a run changes a stage. Other than kTrain is for rules whose error does not cross stages (layer
/// accumulation).
enum class StageMode : uint8_t {
  kTrain,
  kFrozen,  // forward only, as in evaluation
  kIdle     // not even that: later stages get nothing
};

/// Learning indicators of a stage's layers in one micro-batch, counted from the start of the run, where they are asked
/// for; -1: of none.
struct IndicatorLog {
  int64_t mb = -1;
  std::vector<Tensor> values{};
};

/// Body, weights and optimiser of one stage. Its worker's thread uses it while a run lasts. Stages of one worker share
/// their stream.
class Stage {
 public:
  /// Queues the initial values, which depend on `seed` and the parameters' paths alone.
  Stage(StageNet net, Stream on, uint64_t seed, OptimizerPtr with, SettingsAt at)
      : name(std::move(net.name)),
        stream(std::move(on)),
        body(std::move(net.body)),
        arena(stream, net.init, seed),
        optimizer(std::move(with)),
        settings(std::move(at)),
        versions(arena, *optimizer, settings),
        finite(Tensor::empty(stream, {1}, DType::kI32, MemoryTag::kOptimizer)) {}
  Stage(const Stage&) = delete;  // tapes hold its address
  Stage& operator=(const Stage&) = delete;

  const std::string name;
  const Stream stream;
  const StageBodyPtr body;
  Arena arena;
  const OptimizerPtr optimizer;
  SettingsAt settings;
  WeightVersions versions;
  Ledger ledger;
  StageMode mode = StageMode::kTrain;  // of the next run
  IndicatorLog indicators;             // of the next run
  const Tensor finite;                 // i32 [1]: 0 from the first loss of a run on that is not finite
};
using StagePtr = std::unique_ptr<Stage>;
/// The stages of a network, in order.
using Stages = std::span<const StagePtr>;

}  // namespace sluice
