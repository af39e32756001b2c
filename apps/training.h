// A configured network on its devices: what train, eval and demo run.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "apps/catalog.h"
#include "apps/ranks.h"
#include "data/loader.h"
#include "optim/clipped.h"
#include "pipeline/adaptive.h"
#include "pipeline/beam_search.h"
#include "pipeline/byte_count.h"
#include "pipeline/code_health.h"
#include "pipeline/evaluate.h"
#include "pipeline/executor.h"
#include "pipeline/schedules.h"
#include "pipeline/simulate.h"
#include "pipeline/trace.h"

namespace sluice {

/// What one step reported: losses of every stage, and their sum.
struct StepReport {
  int64_t step = 0;  // counted from 0
  double loss = 0;
  std::vector<std::vector<float>> stage_losses;
};

/// What callers may ask of a stretch of training.
struct Stretch {
  int64_t steps = 0;
  std::function<void(const StepReport&)> on_step{};
  const std::atomic<bool>* stop = nullptr;
  bool indicators = false;  // of the first micro-batch: Training::indicators()
  Trace* trace = nullptr;
};

/// Where there are many ranks each has the stages of one device, or their instances, and all make the same calls but
/// for those that are said to be of one process; they throw TransportError with the cause, too, when another rank
/// fails.
class Training {
 public:
  /// Places the stages (measuring their costs where placement is auto and there is a choice) and queues the initial
  /// weights. Throws ConfigError, DeviceError, ScheduleError and DataError before anything is trained.
  Training(RunConfig config, TrainingData data, const Ranks& ranks = {});

  /// Trains on from step(). A stretch may end early at a stop. Steps are told to the leader alone. Throws what
  /// execute() throws.
  RunResult run(const Stretch& stretch);
  /// Accuracy on all test samples, with the newest weights, behind the last stage that has begun to train.
  Evaluation evaluate();
  /// The same on the training samples, as they are without augmentation.
  Evaluation evaluate_train();
  /// The same on the share of the training samples that is kept out of training; nothing where there is none.
  std::optional<Evaluation> evaluate_validation();
  /// The same through the first `exit` stages only.
  Evaluation evaluate_exit(size_t exit);
  /// Of one process. Samples leave behind the first stage that is sure of them. Probabilities are the decoders' own
  /// where the run is faithful (sigmoids).
  AdaptiveResult evaluate_adaptively(double threshold, Confidence by);
  /// What a translator's ids stand for; null of other networks.
  const TranslationText* text() const { return data_.translation.get(); }
  const SampleSource& test_samples() const { return *data_.test; }
  /// Of one process. The likeliest translations (beam_search()) of sources in ids, in their order, with the newest
  /// weights. `done` is told how many there are.
  std::vector<std::vector<int32_t>> translate(const std::vector<std::vector<int32_t>>& sources,
                                              const SearchOptions& options,
                                              const std::function<void(int64_t)>& done) const;
  /// Learning indicators that the last stretch was asked for, one list a layer, first stages first.
  std::vector<std::vector<float>> indicators() const;
  /// Of the label codes; empty for networks without them, and where there are many ranks.
  std::vector<CodeHealth> label_health() const;
  /// All weights, buffers and optimiser state with the configuration and the position, in one file that the leader
  /// writes; and back, where every rank reads its own part and checks all of it.
  void save(const std::string& path) const;
  void load(const std::string& path);
  /// The same for evaluation alone, which replicas do not matter to.
  void load_trained(const std::string& path) { load(path, false); }

  const RunConfig& config() const { return config_; }
  const Ranks& ranks() const { return ranks_; }
  int64_t step() const { return step_; }
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  /// On average, where the batch is counted in tokens.
  int64_t samples_per_step() const {
    return config_.batch_tokens > 0 ? loader_->size() / steps_per_epoch_ : config_.batch;
  }
  int64_t total_steps() const;
  const std::vector<Device>& devices() const { return devices_; }
  const Placement& placement() const { return placement_; }  // of each stage's first instance
  std::vector<int> devices_of(int stage) const;              // of all of its instances
  int cores() const;

  /// How the stages hang together, and which plan they run.
  const Pipeline& pipeline() const { return pipeline_; }
  /// What a micro-batch keeps and hands on by stage, and what each device will hold at the most: counted by a dry run
  /// of the first micro-batch, before anything is trained. Without the other ranks.
  ByteCount counted_bytes();
  std::vector<WorkerBytes> expected_memory();
  std::vector<int64_t> device_peaks() const;  // measured: bytes of each device's pool

  // Of this process.
  int64_t stored_peak() const;  // bytes kept for backward, largest, summed over stages
  int64_t peak_memory() const;  // bytes of all pools, largest, summed over devices
  int64_t os_calls() const;     // of all pools
  int64_t flops() const;        // of all kernel calls so far, by their cost
  int64_t plans_created() const;
  void reset_peaks();

 private:
  std::vector<StageNet> make_nets(const ModelEntry& model) const;
  std::vector<StagePtr> make_stages(const ModelEntry& model, bool error_crosses, const InstancePlacement& all,
                                    std::vector<StagePorts>& ports);
  std::vector<NormExchange> norm_exchanges() const;
  Placement agreed_placement(int stages, bool error_crosses) const;
  std::vector<Stream> make_streams() const;
  std::unique_ptr<Loader> training_loader(std::vector<int> readers) const;
  void load(const std::string& path, bool trains_on);
  void set_word_vectors();
  void set_modes();
  size_t active_stages() const;
  size_t trained_stages() const;
  std::vector<int32_t> training_samples(bool held_out) const;
  std::unique_ptr<Loader> evaluation_loader(std::shared_ptr<const SampleSource> samples,
                                            std::vector<int32_t> some = {}) const;
  Evaluation evaluate_on(Loader& loader, size_t exit);

  RunConfig config_;
  TrainingData data_;
  Ranks ranks_;
  std::vector<Device> devices_;
  std::vector<CpuShare> shares_;
  Placement placement_;
  std::vector<Stream> streams_;                       // one a device; of many ranks: that of this one alone
  std::vector<StageMode> modes_;                      // of the last run, by stage
  std::set<std::string> elsewhere_;                   // paths of the parameters and buffers that only others have
  std::vector<std::shared_ptr<GradientClip>> clips_;  // by device, where its gradients have a norm in common
  bool weighted_ = false;                             // reads_weights(the last stage)
  Pipeline pipeline_;
  std::unique_ptr<Loader> loader_, test_loader_;
  std::unique_ptr<Loader> train_loader_, validation_loader_;  // for accuracy on them, made when it is asked for
  int64_t steps_per_epoch_ = 0;
  int64_t step_ = 0;
};

/// What a loader has of a micro-batch, on the device that asks.
Feed feed_from(Loader& loader);

/// Seconds that each stage takes for one step on one device of the configuration, measured over a few steps.
std::vector<double> measure_stage_costs(const RunConfig& config, const TrainingData& data);
/// The same from the spans of a trace: the medians over steps of its forward, backward and update.
std::vector<double> stage_costs(const Trace& trace, int stages);

}  // namespace sluice
