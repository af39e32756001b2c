// Runs a plan: stages, a learning rule and a schedule give a pipeline, and a pipeline trains.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "pipeline/norm_exchange.h"
#include "pipeline/parcel.h"
#include "pipeline/rule.h"
#include "pipeline/validate.h"

namespace sluice {

class Peers;
class Trace;

/// Stages, their rule, and a plan that is sound for them.
struct Pipeline {
  std::vector<StagePtr> stages;   // or instances: first one of each stage, then replicas; null if in another process
  std::vector<StagePorts> ports;  // of all stages
  const LearningRule* rule = nullptr;
  Wiring wiring;
  Plan plan;      // with transfers
  Report report;  // of validate()
  /// By worker, those of other processes without functions, where the plan is of meet_before_updates(); else none.
  std::vector<NormExchange> norms{};

  /// The stages, where they have replicas the first instances: their running statistics are the ones that count.
  Stages firsts() const;
  /// A stage's first instance and its replicas, those that are here.
  std::vector<Stage*> instances_of(int stage) const;
};

/// What is left to choose of a pipeline.
struct PipelineSettings {
  int depth = 0;                    // slots of every channel; 0: as many as the plan needs
  Pass recompute = Pass::kForward;  // whose weights recomputations read
  std::vector<int> stage_of{};      // where the plan's stage numbers are instances, what each computes (see Instances)
};

/// Routes the stages' ports, adds the transfers and validates. The rule outlives the pipeline. Throws ScheduleError,
/// also when stages of one worker have different streams, or of two workers the same, and when instances of a stage
/// have different parameters.
Pipeline make_pipeline(std::vector<StagePtr> stages, const LearningRule& rule, const Plan& compute,
                       const PipelineSettings& settings = {});
/// The same where other processes have some of the stages, which are null: the ports of all are given.
Pipeline make_pipeline(std::vector<StagePtr> stages, const std::vector<StagePorts>& ports, const LearningRule& rule,
                       const Plan& compute, const PipelineSettings& settings = {});

/// The losses that a stage trained on in one step: sums over micro-batches of losses weighted by 1 / micro-batches, in
/// ascending order, with replicas by instance and then over instances.
struct StepLosses {
  int stage = 0;
  int64_t step = 0;
  std::vector<float> values;
};

struct RunOptions {
  int64_t steps = 0;
  int64_t first_step = 0;      // steps trained before: goes on in the feed, the optimiser and the random numbers
  int64_t samples_per_mb = 1;  // for the random numbers: micro-batch k starts at sample k * samples_per_mb
  uint64_t seed = 0;
  int run_ahead = 2;  // steps that the host may be ahead of a device
  Feed feed;
  std::function<void(const StepLosses&)> on_losses;  // one call at a time, ascending steps per stage, or none
  const std::atomic<bool>* stop = nullptr;           // when it turns true all stages end at the same step
  Peers* peers = nullptr;                            // worker w is process w's; none: all are here
  Trace* trace = nullptr;
  /// Called before each action, on its worker's thread: for checks and for planted faults.
  std::function<void(int worker, const Action&, Stage&)> on_action;
  /// Told what each forward and backward reads, on its worker's thread.
  std::function<void(const Action&, const WeightRead&, const Weights&)> on_weights;
};

/// Parcels that left one worker for another, from stage to stage.
struct Sent {
  int from = 0, to = 0;
  int64_t parcels = 0, bytes = 0;
};

struct RunResult {
  int64_t steps = 0;           // ended, from first_step on; fewer than asked for after a stop
  double wall_s = 0;           // from the first action to the last device's end
  std::vector<double> busy_s;  // per worker: what its stream spent in work (CPU streams)
  std::vector<Sent> sent;      // by (from, to) of each worker
  double idle_share(int worker) const { return wall_s > 0 ? 1.0 - busy_s[size_t(worker)] / wall_s : 0.0; }
};

/// Trains for options.steps steps, one host thread per worker, and waits for all devices. Throws the first error of
/// any worker or device once all have ended; NumericError 'loss of stage S is nan at step N' for a loss that is not
/// finite, and from that step on the stage's weights are unchanged. With peers, all processes call it with the same
/// numbers; a stop or an error of one ends all of them, losses are told to process 0 alone, and the result is the same
/// everywhere but for the time. Throws TransportError with peers->failure() for what happened elsewhere.
RunResult execute(Pipeline& pipeline, const RunOptions& options);

/// The same from the calling thread alone, in the order of validate(); all workers are here. Ignores options.stop.
RunResult execute_serial(Pipeline& pipeline, const RunOptions& options);

}  // namespace sluice
