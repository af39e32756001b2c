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
#include "pipeline/packing.h"

namespace sluice {
namespace {

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

/// By place in a step: how many instances of stages on this rank, or on all devices, read that micro-batch.
std::vector<int> count_readers(const std::vector<bool>& reads, const Arrangement& a, const Ranks& ranks) {
  const Instances instances = share_out(a.all.stage_of, a.plan);
  std::vector<int> readers(instances.shares.empty() ? 1 : instances.shares[0].size());
  for (size_t i = 0; i < a.all.placement.size(); ++i)
    for (size_t mb = 0; mb < readers.size(); ++mb)
      if (!ranks.many() || a.all.placement[i] == ranks.rank())
        readers[mb] += reads[size_t(instances.stage(int(i)))] && instances.computes(int(i), int64_t(mb));
  return readers;
}

}  // namespace

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

Training::Training(RunConfig config, TrainingData data, const Ranks& ranks)
    : config_(with_network_defaults(with_stage_devices(std::move(config)))), data_(std::move(data)), ranks_(ranks) {
  check_config(config_);
  config_.augmentation = augmentation_name(config_);  // part of the numerics, so it is saved as it is
  devices_ = ranks.many() ? rank_devices(config_.devices) : parse_devices(config_.devices);
  for (size_t d = 0; d < devices_.size(); ++d)
    if (!ranks.many() || int(d) == ranks.rank()) expect_exists(devices_[d]);
  shares_ = ranks.many() ? share_among(ranks, devices_, int(config_.cores_per_device))
                         : share_cores(devices_, int(config_.cores_per_device));
  config_.cores_per_device = shares_[0].team;  // part of the numerics, so it is saved as it is
  const ModelEntry& model = find_model(config_);
  const LearningRule& rule = find_rule(config_.weights == "synchronous" ? model.rule_kind : config_.weights);

  std::vector<bool> reads;  // by stage
  for (const StageNet& n : make_nets(model)) reads.push_back(!n.body->feed_ports().empty());
  placement_ = agreed_placement(int(reads.size()), rule.error_crosses);
  modes_.assign(reads.size(), StageMode::kTrain);
  streams_ = make_streams();
  const Arrangement a = arrange(config_, placement_, rule.error_crosses, int(devices_.size()));
  loader_ = training_loader(count_readers(reads, a, ranks_));
  test_loader_ = evaluation_loader(data_.test);
  steps_per_epoch_ = loader_->per_epoch() / config_.micro_batches;
  if (steps_per_epoch_ == 0)
    throw ConfigError(str("batch=", config_.batch, ": the training set has only ", loader_->size(), " samples"));
  const bool meets = config_.clip_grad > 0 && rule.error_crosses && devices_.size() > 1;
  try {
    std::vector<StagePorts> ports;
    std::vector<StagePtr> own = make_stages(model, rule.error_crosses, a.all, ports);
    pipeline_ = make_pipeline(std::move(own), ports, rule, meets ? meet_before_updates(a.plan) : a.plan,
                              {.recompute = config_.recompute_weights == "backward" ? Pass::kBackward : Pass::kForward,
                               .stage_of = a.all.stage_of});
    if (meets) pipeline_.norms = norm_exchanges();
  } catch (const ScheduleError& e) {
    throw in_schedule(a.schedule, e);
  }
  if (!config_.word_vec.empty()) set_word_vectors();
}

/// That of the leader, who alone measures where there is something to measure.
Placement Training::agreed_placement(int stages, bool error_crosses) const {
  Packer own;
  own.add(ranks_.leads() ? place(config_, data_, stages, int(devices_.size()), error_crosses) : Placement());
  return Unpacker(ranks_.of_leader(own.bytes())).take_all<int>();
}

std::vector<Stream> Training::make_streams() const {
  std::vector<Stream> streams;
  for (size_t d = 0; d < devices_.size(); ++d)
    if (!ranks_.many() || int(d) == ranks_.rank()) streams.emplace_back(devices_[d], shares_[d]);
  return streams;
}

std::unique_ptr<Loader> Training::training_loader(std::vector<int> readers) const {
  return std::make_unique<Loader>(data_.train, LoaderOptions{.batch = config_.batch / config_.micro_batches,
                                                             .tokens = config_.batch_tokens / config_.micro_batches,
                                                             .training = true,
                                                             .seed = uint64_t(config_.seed),
                                                             .augmentation = augmentation_of(config_, *data_.train),
                                                             .depth = int(2 * config_.micro_batches + 2),
                                                             .readers = std::move(readers),
                                                             .samples = training_samples(false)});
}

/// The rows of the embedding table start from a file.
void Training::set_word_vectors() {
  if (!data_.vocabulary) throw ConfigError(str("word_vec=", config_.word_vec, ": data=", config_.data, " is no text"));
  const std::vector<Stage*> readers = pipeline_.instances_of(0);
  if (readers.empty()) return;
  const WordVectors vectors = read_word_vectors(word_vector_file(config_), *data_.vocabulary,
                                                {.seed = uint64_t(config_.seed), .faithful = config_.faithful});
  const Stage& first = *readers[0];
  for (size_t i = 0; i < first.arena.specs().size(); ++i) {
    const ParamSpec& spec = first.arena.specs()[i];
    if (!spec.path.ends_with("embedding.weight")) continue;
    if (spec.shape != Shape{data_.vocabulary->size(), vectors.dim})
      throw ConfigError(str("word_vec=", config_.word_vec, ": ", data_.vocabulary->size(), " words of width ",
                            vectors.dim, ", the embedding has shape ", spec.shape.text(), "; set embedding_dim"));
    for (Stage* s : readers) {
      s->arena.values().flat_view(first.arena.offset(int(i)), spec.shape).assign<float>(s->stream, vectors.values);
      s->arena.bump_version();
    }
    return;
  }
  throw ConfigError(str("word_vec=", config_.word_vec, ": model=", config_.model, " has no embedding"));
}

std::vector<StageNet> Training::make_nets(const ModelEntry& model) const {
  std::vector<StageNet> nets = make_stage_nets(model, config_, *data_.train);
  train_on(nets, class_loss_of(config_));
  return nets;
}

std::vector<StagePtr> Training::make_stages(const ModelEntry& model, bool error_crosses, const InstancePlacement& all,
                                            std::vector<StagePorts>& ports) {
  const bool clips = config_.clip_grad > 0;
  std::vector<StagePtr> stages;
  clips_.resize(devices_.size());
  std::vector<StageNet> nets = make_nets(model);
  weighted_ = reads_weights(*nets.back().body);
  for (size_t i = 0; i < all.placement.size(); ++i) {
    const size_t stage = all.stage_of.empty() ? i : size_t(all.stage_of[i]);
    if (nets[stage].body == nullptr) nets = make_nets(model);  // taken by an instance before
    const StageNet& net = nets[stage];
    ports.push_back({net.body->in_ports(), net.body->out_ports()});
    if (ranks_.many() && all.placement[i] != ranks_.rank()) {
      for (const ParamSpec& s : net.init.params()) elsewhere_.insert(s.path);
      for (const ParamSpec& s : net.init.buffers()) elsewhere_.insert(s.path);
      stages.push_back(nullptr);
      continue;
    }
    OptimizerPtr optimizer = make_optimizer(config_);
    if (clips) {
      std::shared_ptr<GradientClip>& clip = clips_[size_t(all.placement[i])];
      if (!clip || !error_crosses) clip = std::make_shared<GradientClip>(float(config_.clip_grad));
      optimizer = std::make_unique<ClippedOptimizer>(std::move(optimizer), clip);
    }
    stages.push_back(
        std::make_unique<Stage>(std::move(nets[stage]), streams_[ranks_.many() ? 0 : size_t(all.placement[i])],
                                uint64_t(config_.seed), std::move(optimizer), settings_of(config_, steps_per_epoch_)));
    if (clips) clips_[size_t(all.placement[i])]->add(stages.back()->arena);
  }
  for (const StagePtr& s : stages) {
    if (!s) continue;
    for (const ParamSpec& spec : s->arena.specs()) elsewhere_.erase(spec.path);
    for (const ParamSpec& spec : s->arena.buffer_specs()) elsewhere_.erase(spec.path);
  }
  return stages;
}

std::vector<NormExchange> Training::norm_exchanges() const {
  std::vector<NormExchange> all;
  for (const std::shared_ptr<GradientClip>& clip : clips_) {
    NormExchange& own = all.emplace_back();
    if (!clip) continue;  // another rank's
    own.squares = [clip](const Stream& stream) { return clip->squares(stream); };
    own.take = [clip](const Stream& stream, int64_t step, const std::vector<float>& squares) {
      clip->take(stream, step, squares);
    };
  }
  return all;
}

RunResult Training::run(const Stretch& stretch) {
  const bool local = !pipeline_.wiring.error_crosses;
  set_modes();
  size_t with_losses = 0;
  for (const StageMode m : modes_) with_losses += m == StageMode::kTrain;
  StepCollector collector(modes_.size(), local ? with_losses : 1, stretch.on_step);
  RunOptions options;
  options.steps = stretch.steps;
  options.first_step = step_;
  options.samples_per_mb = micro_batch_size(config_);
  options.seed = uint64_t(config_.seed);
  options.feed = feed_from(*loader_);
  options.on_losses = [&](const StepLosses& l) { collector.add(l); };
  options.stop = stretch.stop;
  options.trace = stretch.trace;
  options.peers = ranks_.peers();
  for (const StagePtr& s : pipeline_.stages)
    if (s) s->indicators = {.mb = stretch.indicators ? step_ * config_.micro_batches : -1};
  loader_->seek(step_ * config_.micro_batches);
  RunResult result = execute(pipeline_, options);
  step_ += result.steps;
  return result;
}

std::vector<std::vector<float>> Training::indicators() const {
  std::map<int, std::vector<std::vector<float>>> layers;  // by stage
  Packer own;
  for (size_t i = 0; i < pipeline_.stages.size(); ++i) {
    if (!pipeline_.stages[i]) continue;
    const Stage& s = *pipeline_.stages[i];
    own.add(pipeline_.wiring.instances.stage(int(i))).add(int64_t(s.indicators.values.size()));
    for (const Tensor& t : s.indicators.values) own.add(t.to_vector<float>(s.stream));
  }
  for (const std::string& of_rank : ranks_.all(own.bytes()))
    for (Unpacker in(of_rank); !in.at_end();) {
      auto& of_stage = layers[in.take<int>()];
      for (auto left = in.take<int64_t>(); left > 0; --left) of_stage.push_back(in.take_all<float>());
    }
  std::vector<std::vector<float>> all;
  for (auto& entry : layers)
    for (std::vector<float>& values : entry.second) all.push_back(std::move(values));
  return all;
}

std::vector<int> Training::devices_of(int stage) const {
  std::vector<int> all{pipeline_.report.placement[size_t(stage)]};
  for (const int i : pipeline_.wiring.instances.replicas(stage)) all.push_back(pipeline_.report.placement[size_t(i)]);
  return all;
}

/// How many stages train at the step that comes next, or have trained: each gets the same share of the epochs.
size_t Training::active_stages() const {
  const int64_t stages = int64_t(placement_.size());
  if (config_.accumulate == "none") return size_t(stages);
  return size_t(std::min(stages, 1 + step_ / steps_per_epoch_ * stages / config_.epochs));
}

void Training::set_modes() {
  const size_t active = active_stages();
  for (size_t i = 0; i < modes_.size(); ++i) {
    modes_[i] = i >= active                                       ? StageMode::kIdle
                : config_.accumulate == "fixed" && i + 1 < active ? StageMode::kFrozen
                                                                  : StageMode::kTrain;
    for (Stage* s : pipeline_.instances_of(int(i))) s->mode = modes_[i];
  }
}

size_t Training::trained_stages() const {
  size_t trained = 0;
  for (const StageMode m : modes_) trained += m != StageMode::kIdle;
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
  if (!ranks_.many()) return sluice::evaluate(pipeline_.firsts(), feed_from(loader), loader.per_epoch(), exit);
  const Spread spread{*ranks_.peers(), placement_, pipeline_.ports, weighted_};
  return sluice::evaluate(pipeline_.firsts(), spread, feed_from(loader), loader.per_epoch(), exit);
}

AdaptiveResult Training::evaluate_adaptively(double threshold, Confidence by) {
  test_loader_->seek(0);
  return infer_adaptively(pipeline_.firsts(), feed_from(*test_loader_), test_loader_->per_epoch(),
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
    std::vector<std::vector<int32_t>> found = beam_search(pipeline_.firsts(), some, options);
    for (size_t i = begin; i < end; ++i) all[order[i]] = std::move(found[i - begin]);
    done(int64_t(end));
  }
  return all;
}

std::vector<CodeHealth> Training::label_health() const {
  if (config_.rule != "al" || ranks_.many()) return {};
  return code_health(pipeline_.firsts(), data_.train->classes());
}

int64_t Training::total_steps() const {
  const int64_t all = steps_per_epoch_ * config_.epochs;
  return config_.max_steps > 0 ? std::min(all, config_.max_steps) : all;
}

}  // namespace sluice
