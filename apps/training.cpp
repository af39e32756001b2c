// Puts data, network, rule and schedule together.
#include "apps/training.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>

#include "apps/placing.h"
#include "apps/recipe.h"
#include "apps/schedule_file.h"
#include "data/word_vectors.h"
#include "optim/clipped.h"

namespace sluice {
namespace {

Feed feed_from(Loader& loader) {
  return [&loader](const FeedRequest& r) {
    const Batch batch = loader.fetch(r.mb);
    Parcel parcel{{}, batch.ready};
    for (const Port& port : r.ports) parcel.values.push_back(batch.at(port.name));
    if (r.stream.is_cpu()) return parcel;
    batch.claim(r.stream);
    for (Tensor& t : parcel.values) {
      Tensor on_device = Tensor::empty(r.stream, t.shape(), t.dtype(), MemoryTag::kIo);
      copy(r.stream, t, on_device);
      t = on_device;
    }
    parcel.ready = {};
    return parcel;
  };
}

/// What word_vec names: a file, or the one of GloVe or fastText that the papers start from.
std::string word_vector_file(const RunConfig& c) {
  if (c.word_vec == "glove") return str(c.data_dir, "/glove.6B.", c.embedding_dim, "d.txt");
  if (c.word_vec == "fasttext") return str(c.data_dir, "/wiki-news-", c.embedding_dim, "d-1M.vec");
  return c.word_vec;
}

/// Collects the losses of a step until every stage that trains on some has reported.
class StepCollector {
 public:
  StepCollector(size_t stages, size_t with_losses, std::function<void(const StepReport&)> done)
      : stages_(stages), expected_(with_losses), done_(std::move(done)) {}

  void add(const StepLosses& l) {
    if (l.values.empty()) return;  // a stage that only hands on
    StepReport& r = open_[l.step];
    r.step = l.step;
    r.stage_losses.resize(stages_);
    r.stage_losses[size_t(l.stage)] = l.values;
    for (const float v : l.values) r.loss += double(v);
    if (++reported_[l.step] < expected_) return;
    if (done_) done_(r);
    reported_.erase(l.step);
    open_.erase(l.step);
  }

 private:
  size_t stages_, expected_;
  std::function<void(const StepReport&)> done_;
  std::map<int64_t, StepReport> open_;
  std::map<int64_t, size_t> reported_;
};

}  // namespace

Training::Training(RunConfig config, TrainingData data)
    : config_(with_network_defaults(with_stage_devices(std::move(config)))), data_(std::move(data)) {
  check_config(config_);
  config_.augmentation = augmentation_name(config_);  // part of the numerics, so it is saved as it is
  devices_ = parse_devices(config_.devices);
  for (const Device& d : devices_) expect_exists(d);
  shares_ = share_cores(devices_, int(config_.cores_per_device));
  config_.cores_per_device = shares_[0].team;  // part of the numerics, so it is saved as it is
  const ModelEntry& model = find_model(config_);
  const LearningRule& rule = find_rule(config_.weights == "synchronous" ? model.rule_kind : config_.weights);

  int readers = 0, stages = 0;
  for (const StageNet& n : make_nets(model)) {
    readers += n.body->feed_ports().empty() ? 0 : 1;
    ++stages;
  }
  placement_ = place(config_, data_, stages, int(devices_.size()), rule.error_crosses);
  for (size_t i = 0; i < devices_.size(); ++i) streams_.emplace_back(devices_[i], shares_[i]);
  const Augmentation augmentation = augmentation_of(config_, *data_.train);
  const auto seed = uint64_t(config_.seed);
  loader_ = std::make_unique<Loader>(data_.train, LoaderOptions{.batch = config_.batch / config_.micro_batches,
                                                                .tokens = config_.batch_tokens / config_.micro_batches,
                                                                .training = true,
                                                                .seed = seed,
                                                                .augmentation = augmentation,
                                                                .depth = int(2 * config_.micro_batches + 2),
                                                                .readers = readers,
                                                                .samples = training_samples(false)});
  test_loader_ = evaluation_loader(data_.test);
  steps_per_epoch_ = loader_->per_epoch() / config_.micro_batches;
  if (steps_per_epoch_ == 0)
    throw ConfigError(str("batch=", config_.batch, ": the training set has only ", loader_->size(), " samples"));
  const std::string schedule = schedule_name(config_, rule.error_crosses, int(devices_.size()));
  const Plan plan = compute_plan(config_, schedule, placement_);
  try {
    pipeline_ =
        make_pipeline(make_stages(model, rule.error_crosses), rule, plan,
                      {.recompute = config_.recompute_weights == "backward" ? Pass::kBackward : Pass::kForward});
  } catch (const ScheduleError& e) {
    throw in_schedule(schedule, e);
  }
  if (!config_.word_vec.empty()) set_word_vectors();
}

/// The rows of the embedding table start from a file.
void Training::set_word_vectors() {
  if (!data_.vocabulary) throw ConfigError(str("word_vec=", config_.word_vec, ": data=", config_.data, " is no text"));
  const WordVectors vectors = read_word_vectors(word_vector_file(config_), *data_.vocabulary,
                                                {.seed = uint64_t(config_.seed), .faithful = config_.faithful});
  Stage& first = *pipeline_.stages[0];
  for (size_t i = 0; i < first.arena.specs().size(); ++i) {
    const ParamSpec& spec = first.arena.specs()[i];
    if (!spec.path.ends_with("embedding.weight")) continue;
    if (spec.shape != Shape{data_.vocabulary->size(), vectors.dim})
      throw ConfigError(str("word_vec=", config_.word_vec, ": ", data_.vocabulary->size(), " words of width ",
                            vectors.dim, ", the embedding has shape ", spec.shape.text(), "; set embedding_dim"));
    first.arena.values().flat_view(first.arena.offset(int(i)), spec.shape).assign<float>(first.stream, vectors.values);
    first.arena.bump_version();
    return;
  }
  throw ConfigError(str("word_vec=", config_.word_vec, ": model=", config_.model, " has no embedding"));
}

std::vector<StageNet> Training::make_nets(const ModelEntry& model) const {
  std::vector<StageNet> nets = make_stage_nets(model, config_, *data_.train);
  train_on(nets, class_loss_of(config_));
  return nets;
}

std::vector<StagePtr> Training::make_stages(const ModelEntry& model, bool error_crosses) {
  const bool clips = config_.clip_grad > 0;
  if (clips && error_crosses && devices_.size() > 1)
    throw ConfigError(str("clip_grad=", config_.clip_grad, ": rule=", config_.rule, " on ", devices_.size(),
                          " devices, whose gradients have no common norm; expected one device"));
  std::vector<StagePtr> stages;
  std::shared_ptr<GradientClip> clip;
  std::vector<StageNet> nets = make_nets(model);
  for (size_t i = 0; i < nets.size(); ++i) {
    OptimizerPtr optimizer = make_optimizer(config_);
    if (clips) {
      if (!clip || !error_crosses) clip = std::make_shared<GradientClip>(float(config_.clip_grad));
      optimizer = std::make_unique<ClippedOptimizer>(std::move(optimizer), clip);
    }
    stages.push_back(std::make_unique<Stage>(std::move(nets[i]), streams_[size_t(placement_[i])],
                                             uint64_t(config_.seed), std::move(optimizer),
                                             settings_of(config_, steps_per_epoch_)));
    if (clips) clip->add(stages.back()->arena);
  }
  return stages;
}

RunResult Training::run(const Stretch& stretch) {
  const bool local = !pipeline_.wiring.error_crosses;
  set_modes();
  size_t with_losses = 0;
  for (const StagePtr& s : pipeline_.stages) with_losses += s->mode == StageMode::kTrain;
  StepCollector collector(pipeline_.stages.size(), local ? with_losses : 1, stretch.on_step);
  RunOptions options;
  options.steps = stretch.steps;
  options.first_step = step_;
  options.samples_per_mb = micro_batch_size(config_);
  options.seed = uint64_t(config_.seed);
  options.feed = feed_from(*loader_);
  options.on_losses = [&](const StepLosses& l) { collector.add(l); };
  options.stop = stretch.stop;
  options.trace = stretch.trace;
  for (const StagePtr& s : pipeline_.stages)
    s->indicators = {.mb = stretch.indicators ? step_ * config_.micro_batches : -1};
  loader_->seek(step_ * config_.micro_batches);
  RunResult result = execute(pipeline_, options);
  step_ += result.steps;
  return result;
}

std::vector<std::vector<float>> Training::indicators() const {
  std::vector<std::vector<float>> layers;
  for (const StagePtr& s : pipeline_.stages)
    for (const Tensor& t : s->indicators.values) layers.push_back(t.to_vector<float>(s->stream));
  return layers;
}

/// How many stages train at the step that comes next, or have trained: each gets the same share of the epochs.
size_t Training::active_stages() const {
  const int64_t stages = int64_t(pipeline_.stages.size());
  if (config_.accumulate == "none") return size_t(stages);
  return size_t(std::min(stages, 1 + step_ / steps_per_epoch_ * stages / config_.epochs));
}

void Training::set_modes() {
  const size_t active = active_stages();
  for (size_t i = 0; i < pipeline_.stages.size(); ++i)
    pipeline_.stages[i]->mode = i >= active                                       ? StageMode::kIdle
                                : config_.accumulate == "fixed" && i + 1 < active ? StageMode::kFrozen
                                                                                  : StageMode::kTrain;
}

size_t Training::trained_stages() const {
  size_t trained = 0;
  for (const StagePtr& s : pipeline_.stages) trained += s->mode != StageMode::kIdle;
  return trained;
}

Evaluation Training::evaluate() { return evaluate_exit(trained_stages()); }

Evaluation Training::evaluate_train() {
  if (!train_loader_) train_loader_ = evaluation_loader(data_.train, training_samples(false));
  return evaluate_on(*train_loader_, trained_stages());
}

std::optional<Evaluation> Training::evaluate_validation() {
  if (config_.validation == 0 && !data_.validation) return {};
  if (!validation_loader_)
    validation_loader_ =
        data_.validation ? evaluation_loader(data_.validation) : evaluation_loader(data_.train, training_samples(true));
  return evaluate_on(*validation_loader_, trained_stages());
}

/// Of all samples, unless `some` are named.
std::unique_ptr<Loader> Training::evaluation_loader(std::shared_ptr<const SampleSource> samples,
                                                    std::vector<int32_t> some) const {
  int64_t tokens = config_.batch_tokens;  // or more, since no sample is left out for its length
  for (int64_t i = 0; tokens > 0 && i < samples->size(); ++i) tokens = std::max(tokens, samples->length(i));
  return std::make_unique<Loader>(
      std::move(samples),
      LoaderOptions{.batch = config_.test_batch_size, .tokens = tokens, .training = false, .samples = std::move(some)});
}

/// The same for every seed, so that seeds can be compared.
std::vector<int32_t> Training::training_samples(bool held_out) const {
  if (config_.validation == 0) return {};
  const int64_t n = data_.train->size(), held = std::llround(config_.validation * double(n));
  if (held == 0) throw ConfigError(str("validation=", config_.validation, ": no sample of ", n));
  const std::vector<int32_t> order = epoch_order(n, 0, 0);
  std::vector<int32_t> samples(held_out ? order.begin() : order.begin() + held,
                               held_out ? order.begin() + held : order.end());
  std::sort(samples.begin(), samples.end());
  return samples;
}

Evaluation Training::evaluate_exit(size_t exit) { return evaluate_on(*test_loader_, exit); }

Evaluation Training::evaluate_on(Loader& loader, size_t exit) {
  loader.seek(0);
  return sluice::evaluate(pipeline_.stages, feed_from(loader), loader.per_epoch(), exit);
}

AdaptiveResult Training::evaluate_adaptively(double threshold, Confidence by) {
  test_loader_->seek(0);
  return infer_adaptively(pipeline_.stages, feed_from(*test_loader_), test_loader_->per_epoch(),
                          {.threshold = threshold, .by = by, .logits = !config_.faithful});
}

/// Those of like length together: a batch costs what its longest costs.
std::vector<std::vector<int32_t>> Training::translate(const std::vector<std::vector<int32_t>>& sources,
                                                      const SearchOptions& options,
                                                      const std::function<void(int64_t)>& done) const {
  constexpr size_t kRows = 128;  // sequences at a time
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sources[a].size() < sources[b].size(); });
  std::vector<std::vector<int32_t>> all(sources.size());
  const size_t rows = std::max<size_t>(1, kRows / size_t(std::max(1, options.beam)));
  for (size_t begin = 0; begin < order.size(); begin += rows) {
    const size_t end = std::min(begin + rows, order.size());
    std::vector<std::vector<int32_t>> some;
    for (size_t i = begin; i < end; ++i) some.push_back(sources[order[i]]);
    std::vector<std::vector<int32_t>> found = beam_search(pipeline_.stages, some, options);
    for (size_t i = begin; i < end; ++i) all[order[i]] = std::move(found[i - begin]);
    done(int64_t(end));
  }
  return all;
}

std::vector<CodeHealth> Training::label_health() const {
  if (config_.rule != "al") return {};
  return code_health(pipeline_.stages, data_.train->classes());
}

int64_t Training::total_steps() const {
  const int64_t all = steps_per_epoch_ * config_.epochs;
  return config_.max_steps > 0 ? std::min(all, config_.max_steps) : all;
}

int Training::cores() const {
  int n = 0;
  for (const CpuShare& s : shares_) n += s.cores.empty() ? 0 : s.team;
  return n;
}

ByteCount Training::counted_bytes() {
  loader_->seek(0);
  return count_bytes(make_nets(find_model(config_)), feed_from(*loader_), pipeline_.wiring.error_crosses,
                     int(pipeline_.stages[0]->optimizer->state_names().size()));
}
std::vector<WorkerBytes> Training::expected_memory() {
  const ByteCount count = counted_bytes();
  CostModel costs{};
  costs.edges = count.edges;
  costs.bytes = count.bytes;
  return simulate(pipeline_.report, costs).bytes;
}
std::vector<int64_t> Training::device_peaks() const {
  std::vector<int64_t> peaks;
  for (const Stream& s : streams_) peaks.push_back(s.pool().peak());
  return peaks;
}

int64_t Training::stored_peak() const {
  int64_t bytes = 0;
  for (const StagePtr& s : pipeline_.stages) bytes += s->ledger.peak();
  return bytes;
}
int64_t Training::peak_memory() const {
  int64_t bytes = 0;
  for (const Stream& s : streams_) bytes += s.pool().peak();
  return bytes;
}
int64_t Training::os_calls() const {
  int64_t calls = 0;
  for (const Stream& s : streams_) calls += s.pool().os_calls();
  return calls + loader_->stream().pool().os_calls();
}
int64_t Training::flops() const {
  int64_t n = 0;
  for (const Stream& s : streams_) n += s.stats().flops;
  return n;
}
int64_t Training::plans_created() const {
  int64_t plans = 0;
  for (const Stream& s : streams_) plans += s.plans_created();
  return plans;
}
void Training::reset_peaks() {
  for (const Stream& s : streams_) s.pool().reset_peak();
  for (const StagePtr& s : pipeline_.stages) s->ledger.reset_peak();
}

}  // namespace sluice
