// `sluice train`.
#include <fmt/format.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "apps/commands.h"
#include "apps/config_options.h"
#include "apps/event_file.h"
#include "apps/indicators.h"
#include "apps/memory_table.h"
#include "apps/plan_file.h"
#include "apps/progress.h"
#include "apps/run_dir.h"
#include "apps/schedule_file.h"
#include "apps/stage_maps.h"
#include "apps/table.h"
#include "apps/training.h"
#include "engine/error.h"

namespace sluice {
namespace {

std::atomic<bool> g_stop{false};  // the only thing that a signal handler may touch

void install_stop_handler() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_stop.store(true); };
  action.sa_flags = int(SA_RESETHAND);  // a second Ctrl-C ends at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

std::string describe(const Training& t) {
  const RunConfig& c = t.config();
  std::string stages;
  for (int i = 0; i < int(t.placement().size()); ++i) {
    stages += fmt::format("{}{} on ", i ? ", " : "", i);
    const std::vector<int> lies_on = t.devices_of(i);
    for (size_t k = 0; k < lies_on.size(); ++k) stages += (k ? " and " : "") + t.devices()[size_t(lies_on[k])].text();
  }
  const std::string batch = c.batch_tokens > 0 ? fmt::format("of {} tokens", c.batch_tokens) : std::to_string(c.batch);
  return fmt::format("{} with {} on {}, width {}, batch {} in {} parts, {} steps an epoch\nstages: {}", c.model, c.rule,
                     c.data, c.width, batch, c.micro_batches, t.steps_per_epoch(), stages);
}

/// Trains to the configured end, with checkpoints, metrics and the bar. Of many ranks the leader alone talks and
/// writes.
class TrainRun {
 public:
  /// `turn`: which of the configured repetitions it is; a row for each epoch goes to `results`.
  TrainRun(Training& t, int64_t turn, std::vector<ResultRow>& results) : training_(t), turn_(turn), results_(results) {
    const RunConfig& c = t.config();
    if (c.out.empty()) return;
    dir_.emplace(c.out);
    if (t.ranks().of_leader(dir_->has_checkpoint())) {
      t.load(dir_->checkpoint());
      say("resuming {} at step {}\n", c.out, t.step());
    }
    if (!t.ranks().leads()) return;
    events_ = std::make_unique<EventFile>(c.out);
    for (const MetricsRow& row : dir_->open_metrics(t.step())) {
      seconds_ = row.train_seconds;
      if (is_best(row)) best_ = row;
    }
    dir_->write_config(c);
  }

  void run() {
    Trace trace(20000);
    bool traced = false;
    bool stops = training_.ranks().any(g_stop);
    for (; training_.step() < training_.total_steps() && !stops; stops = training_.ranks().any(g_stop)) {
      const bool want_trace = dir_ && training_.config().trace && !traced;
      stretch(next_pause(), want_trace ? &trace : nullptr);
      if (std::exchange(traced, traced || want_trace) == false && want_trace) write_trace(trace);
    }
    if (best_)
      say("best on validation: epoch {}, {:.2f} %; test accuracy {:.2f} %\n", best_->epoch,
          100 * *best_->validation_accuracy, 100 * best_->test_accuracy.value_or(0));
    std::string peaks;
    for (size_t d = 0; d < peaks_.size(); ++d)
      peaks += fmt::format("{}{} {}", d ? ", " : "", training_.devices()[d].text(), bytes_text(peaks_[d]));
    if (!peaks.empty()) say("peak memory in training: {}\n", peaks);
    if (stops) say("stopped after step {}{}\n", training_.step(), dir_ ? "; the same command goes on" : "");
  }

 private:
  bool leads() const { return training_.ranks().leads(); }
  template <class... T>
  void say(fmt::format_string<T...> format, T&&... values) const {
    if (leads()) fmt::print(format, std::forward<T>(values)...);
  }

  int64_t next_pause() const {
    const int64_t step = training_.step(), every = training_.config().checkpoint_every;
    int64_t pause = (step / training_.steps_per_epoch() + 1) * training_.steps_per_epoch();
    if (every > 0) pause = std::min(pause, (step / every + 1) * every);
    return std::min(pause, training_.total_steps());
  }

  /// Of the first micro-batch of an epoch: those of convolutions are one a sample, of linear layers one a token.
  void write_indicators(int64_t epoch) {
    const RunConfig& c = training_.config();
    std::vector<std::vector<float>> layers = training_.indicators();
    if (!leads()) return;
    append_indicators(std::filesystem::path(c.out) / "indicators.npy", {.layers = std::move(layers),
                                                                        .tokens = !c.model.starts_with("resnet"),
                                                                        .most = c.model == "vit" ? 1500 : 1000,
                                                                        .seed = uint64_t(c.seed),
                                                                        .epoch = epoch});
  }

  void stretch(int64_t pause, Trace* trace) {
    const RunConfig& c = training_.config();
    const int64_t samples = training_.samples_per_step();
    const int64_t epoch = training_.step() / training_.steps_per_epoch();
    const int64_t epoch_begin = epoch * training_.steps_per_epoch(), begin = training_.step();
    std::optional<Progress> bar;
    if (leads()) bar.emplace(fmt::format("epoch {}/{}", epoch + 1, c.epochs), training_.steps_per_epoch() * samples);
    double loss = 0, sum = 0;
    const bool indicates = dir_ && c.get_li && begin == epoch_begin;
    const RunResult result = training_.run({.steps = pause - begin,
                                            .on_step =
                                                [&](const StepReport& r) {
                                                  sum += r.loss;
                                                  stage_losses_ = r.stage_losses;
                                                  loss = loss == 0 ? r.loss : 0.95 * loss + 0.05 * r.loss;
                                                  bar->update((r.step + 1 - epoch_begin) * samples, loss);
                                                },
                                            .stop = &g_stop,
                                            .indicators = indicates,
                                            .trace = trace});
    if (bar) bar->finish();
    if (peaks_.empty()) peaks_ = training_.device_peaks();  // before evaluation, which has batches of its own
    seconds_ += result.wall_s;
    const int64_t done = training_.step() - begin;
    if (done == 0) return;
    if (indicates) write_indicators(epoch);
    if (dir_) training_.save(dir_->checkpoint());
    MetricsRow row{.step = training_.step(),
                   .epoch = epoch + 1,
                   .loss = sum / double(done),
                   .samples_per_s = double(done * samples) / result.wall_s,
                   .train_seconds = seconds_};
    if (training_.step() % training_.steps_per_epoch() == 0 || training_.step() == training_.total_steps()) {
      const Evaluation test = training_.evaluate();
      row.test_accuracy = test.accuracy();
      if (training_.text() != nullptr) row.test_loss = test.loss;
      if (c.train_accuracy) row.train_accuracy = training_.evaluate_train().accuracy();
      if (const auto held_out = training_.evaluate_validation()) row.validation_accuracy = held_out->accuracy();
      results_.push_back({.turn = turn_,
                          .train_accuracy = row.train_accuracy,
                          .test_accuracy = *row.test_accuracy,
                          .train_seconds = seconds_});
      say("epoch {}: loss {:.4f}, {}test accuracy {:.2f} %, {}{:.0f} samples/s\n", row.epoch, row.loss,
          row.test_loss ? fmt::format("test loss {:.4f}, ", *row.test_loss) : "", 100 * *row.test_accuracy,
          row.validation_accuracy ? fmt::format("validation {:.2f} %, ", 100 * *row.validation_accuracy) : "",
          row.samples_per_s);
      warn_of_collapse();
      if (training_.ranks().of_leader(is_best(row))) {
        best_ = row;
        if (dir_) training_.save(dir_->best());
      }
    }
    if (!leads()) return;
    if (dir_) dir_->append(row);
    if (events_) write_events(row);
  }

  bool is_best(const MetricsRow& row) const {
    return row.validation_accuracy && (!best_ || *row.validation_accuracy > *best_->validation_accuracy);
  }

  void write_events(const MetricsRow& row) const {
    events_->scalar("loss", row.step, float(row.loss));
    events_->scalar("samples_per_s", row.step, float(row.samples_per_s));
    for (size_t i = 0; i < stage_losses_.size(); ++i)
      for (size_t k = 0; k < stage_losses_[i].size(); ++k)
        events_->scalar(fmt::format("stage{}/loss{}", i, k), row.step, stage_losses_[i][k]);
    if (row.test_accuracy) events_->scalar("test_accuracy", row.step, float(*row.test_accuracy));
    if (row.validation_accuracy) events_->scalar("validation_accuracy", row.step, float(*row.validation_accuracy));
    if (row.test_loss) events_->scalar("test_loss", row.step, float(*row.test_loss));
    if (row.train_accuracy) events_->scalar("train_accuracy", row.step, float(*row.train_accuracy));
  }

  /// Label codes that are alike tell the stages nothing about the classes.
  void warn_of_collapse() const {
    const std::vector<CodeHealth> health = training_.label_health();
    for (size_t i = 0; i < health.size(); ++i) {
      if (health[i].decoded >= 0.9) continue;
      fmt::print(
          "warning: stage {}'s label codes are alike: {:.0f} % of the classes are found again from them (spread "
          "{:.3f}); raise --label-lr{}\n",
          i, 100 * health[i].decoded, health[i].spread, training_.config().faithful ? " or leave out --faithful" : "");
      return;  // later stages cannot be better
    }
  }

  /// Of each rank its own part.
  void write_trace(const Trace& trace) const {
    std::vector<std::string> names;
    for (const Device& d : training_.devices()) names.push_back(d.text());
    std::ostringstream text;
    trace.write_json(text, names);
    write_file(dir_->trace(training_.ranks().rank()), text.str());
  }

  Training& training_;
  int64_t turn_;
  std::vector<ResultRow>& results_;
  std::optional<RunDir> dir_;
  std::unique_ptr<EventFile> events_;
  std::vector<std::vector<float>> stage_losses_;  // of the last step
  std::vector<int64_t> peaks_;                    // bytes, of each device
  double seconds_ = 0;
  std::optional<MetricsRow> best_;  // on the validation samples
};

/// Mean and standard deviation over turns of the last epoch's test accuracy.
void print_turns(const std::vector<ResultRow>& results) {
  std::map<int64_t, double> last;
  for (const ResultRow& r : results) last[r.turn] = 100 * r.test_accuracy;
  double mean = 0, square = 0;
  for (const auto& entry : last) mean += entry.second / double(last.size());
  for (const auto& entry : last) square += (entry.second - mean) * (entry.second - mean) / double(last.size());
  fmt::print("{} turns: test accuracy {:.2f} +- {:.2f} %\n", last.size(), mean, std::sqrt(square));
}

/// What `sluice train` has beside the configuration.
struct TrainOptions {
  std::shared_ptr<ConfigOptions> config;
  std::string plan;
};

/// The configuration; of a plan file, its own with the options on top. A map of stages is left to with_maps().
RunConfig resolve(const TrainOptions& o, const std::string& plan_text) {
  if (o.plan.empty() || is_stage_maps(plan_text)) return o.config->resolve();
  RunConfig base = read_plan_text(plan_text, o.plan).config;
  base.schedule = o.plan;
  return o.config->resolve(base);
}

RunConfig with_maps(const RunConfig& c, const TrainingData& data, const std::string& text, const std::string& path) {
  const ModelEntry& model = find_model(c);
  if (model.units == nullptr)
    throw ConfigError(str(path, ": model=", c.model, " with rule=", c.rule, " has stages of its own"));
  return with_stage_maps(c, read_stage_maps(text, path), int(model.units(c, *data.train).units.size()), path);
}

void train(const TrainOptions& options, const Ranks& ranks) {
  const std::string plan = options.plan.empty() ? "" : read_text(options.plan);
  RunConfig config = with_network_defaults(resolve(options, plan));
  if (ranks.many()) config = with_rank_devices(with_stage_devices(config), ranks.count());
  check_config(config);
  if (!ranks.many()) parse_devices(config.devices);
  find_model(config);
  const TrainingData data = load_data(config, ranks);
  if (is_stage_maps(plan)) config = with_maps(config, data, plan, options.plan);
  install_stop_handler();
  std::vector<ResultRow> results;
  for (int64_t turn = 0; turn < config.repeat && !ranks.any(g_stop); ++turn) {
    RunConfig one = config;
    one.seed += turn;
    if (config.repeat > 1 && !config.out.empty()) one.out += fmt::format("/turn-{}", turn);
    if (ranks.leads()) keep_schedule(one);
    one.schedule = ranks.of_leader(one.schedule);
    Training training(one, data, ranks);
    TrainRun run(training, turn, results);
    if (ranks.leads())
      fmt::print("{}\n{}", describe(training), memory_table(training.devices(), training.expected_memory()));
    run.run();
    if (config.out.empty() || results.empty() || !ranks.leads()) continue;
    write_file(config.out + "/results.csv", results_csv(results));
  }
  if (config.repeat > 1 && ranks.leads()) print_turns(results);
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "Train a network; resumes where --out holds a checkpoint");
  auto options = std::make_shared<TrainOptions>();
  options->config = add_config_options(*command);
  command->add_option("--plan", options->plan,
                      "JSON file of `sluice plan`, whose keys the others override; or PipeDream's maps of stages");
  command->callback([options] { among_ranks([&](const Ranks& ranks) { train(*options, ranks); }); });
}

}  // namespace sluice
