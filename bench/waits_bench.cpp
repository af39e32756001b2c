// waits_bench [--json FILE]: the simulator beside the clock, with stages that wait for a stated time instead of
// computing, so that many workers share few cores and nothing but the schedule decides. Every schedule of
// backpropagation on each number of workers; medians over rounds. Under mpirun each process is a worker.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/median.h"
#include "apps/ranks.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "engine/error.h"
#include "engine/ops.h"
#include "optim/sgd.h"
#include "pipeline/executor.h"
#include "pipeline/schedules.h"
#include "pipeline/simulate.h"

namespace {

using namespace sluice;

struct Options {
  std::string json;
  std::vector<int> workers{4, 8};
  int64_t rounds = 3, mbs = 16;
  double unit = 10;
};

/// Seconds of a stage's passes.
struct Waits {
  double forward = 0, input = 0, weight = 0;
};

void wait(const Stream& s, double seconds) {
  s.enqueue([seconds](CpuContext&) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); });
}

struct WaitFn final : Function {
  GradList backward_input(Tensor dy, BackwardCtx& c) override {
    wait(c.stream, waits.input);
    return {std::move(dy)};
  }
  void backward_weight(BackwardCtx& c) override { wait(c.stream, waits.weight); }
  Waits waits;
};

/// One small product, and the waits.
class WaitingStage final : public StageBody {
 public:
  WaitingStage(Init init, Waits waits, bool first, bool last)
      : waits_(waits),
        first_(first),
        last_(last),
        linear_{init.param("w", {8, 8}, InitialValue::uniform(0.3f)), Param{}, Act::kNone} {}
  std::vector<Port> feed_ports() const override {
    return first_ || last_ ? std::vector<Port>{{"x", DType::kF32, false}} : std::vector<Port>{};
  }
  std::vector<Port> in_ports() const override { return first_ ? std::vector<Port>{} : std::vector<Port>{{"h"}}; }
  std::vector<Port> out_ports() const override { return last_ ? std::vector<Port>{} : std::vector<Port>{{"h"}}; }
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle& in, float loss_weight) const override {
    const Var y = infer(c, first_ ? feed : in)[0];
    if (last_) return {.out = {}, .losses = {mse(c, y, feed[0].value, loss_weight)}};
    return {.out = {y}, .losses = {}};
  }
  Bundle infer(Ctx& c, const Bundle& in) const override {
    wait(c.stream, waits_.forward);
    const Var y = matmul(c, in[0], linear_);
    if (c.tape == nullptr) return {y};
    auto f = std::make_unique<WaitFn>();
    f->waits = waits_;
    return {c.tape->record(std::move(f), y.value, {y}, /*has_weights=*/true)};
  }
  Var head(Ctx&, const Bundle& s) const override { return s[0]; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  Waits waits_;
  bool first_, last_;
  Linear linear_;
};

struct Row {
  std::string schedule;
  int workers = 0;
  std::vector<double> ratios, idle;
  double simulated_idle = 0;
};

/// Seconds that a message between processes takes that have been quiet for as long as a stage waits: median of what all
/// take to hear from all. 0 within one process.
double latency(const Ranks& ranks, double quiet) {
  std::vector<double> seconds;
  for (int i = 0; i < 21 && ranks.many(); ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double>(quiet));
    const auto begin = std::chrono::steady_clock::now();
    ranks.all("");
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return ranks.many() ? median(seconds) : 0;
}

/// Where a schedule wants its stages: one a worker; in turns; down and up a V; or each on two workers.
InstancePlacement placement_for(const PlanSchedule& schedule, int workers) {
  const std::string name = schedule.name;
  if (name == "one_device") return {all_on_one(workers), {}};
  Placement placement = one_each(workers);
  const bool turns = name == "interleaved", v = name == "zb_v" || name.starts_with("v_");
  for (int w = 0; (turns || v) && w < workers; ++w) placement.push_back(v ? workers - 1 - w : w);
  return schedule.placed(placement);
}

/// A schedule over stages of costs that differ from stage to stage by up to a half.
class Waiting {
 public:
  /// Throws ScheduleError for a number of workers or micro-batches that the schedule does not take.
  Waiting(const PlanSchedule& schedule, int workers, const Options& o, const Ranks& ranks, double latency)
      : options_(o), ranks_(ranks) {
    costs_.link.latency = latency;
    const InstancePlacement lie = placement_for(schedule, workers);
    const auto count = size_t(count_workers(lie.placement));
    const auto stages = size_t(*std::max_element(lie.placement.begin(), lie.placement.end()) + 1);
    for (size_t w = 0; w < count; ++w)
      streams_.emplace_back(Device{DeviceKind::kCpu, int(w)}, CpuShare{.team = 1, .cores = {}});
    const size_t n = lie.stage_of.empty() ? lie.placement.size() : stages;
    share_ = double(workers) / double(n);
    for (size_t s = 0; s < n; ++s) {
      const Waits w = waits(s);
      costs_.forward.push_back(w.forward);
      costs_.backward_input.push_back(w.input);
      costs_.backward_weight.push_back(w.weight);
    }
    const int mbs = schedule.synchronous ? int(o.mbs) : 1;
    const Plan plan = schedule.make_for != nullptr ? schedule.make_for(lie.placement, mbs, costs_)
                                                   : schedule.make(lie.placement, mbs);
    make(lie, n, plan, find_rule(schedule.synchronous ? "backprop" : "pipeoptim"));
    if (!lie.stage_of.empty()) costs_ = between(pipeline_.wiring.instances, costs_);
    row_ = {.schedule = schedule.name, .workers = int(count), .ratios = {}, .idle = {}};
    run(2);  // memory and library plans are made
    row_.ratios.clear();
    row_.idle.clear();
  }

  void run(int64_t steps) {
    RunOptions run;
    run.steps = steps * (pipeline_.wiring.synchronous ? 1 : options_.mbs);
    run.first_step = step_;
    run.peers = ranks_.peers();
    run.feed = [](const FeedRequest& r) {
      return Parcel{{Tensor::from<float>(r.stream, std::vector<float>(16, 0.5f), {2, 8}, MemoryTag::kIo)}};
    };
    const RunResult result = execute(pipeline_, run);
    step_ += result.steps;
    const Timeline t = simulate(pipeline_.plan, pipeline_.wiring, costs_, run.steps * pipeline_.report.mbs_per_step);
    double idle = 0;
    for (int w = 0; w < row_.workers; ++w) idle += result.idle_share(w) / row_.workers;
    row_.ratios.push_back(t.makespan / result.wall_s);
    row_.idle.push_back(idle);
    row_.simulated_idle = t.idle_share();
  }
  const Row& row() const { return row_; }

 private:
  Waits waits(size_t stage) const {
    const double scale = 1e-3 * options_.unit * share_ * (1 + 0.25 * double(stage % 3));
    return {scale, 1.2 * scale, 0.8 * scale};
  }
  /// All stages, or of several processes this one's.
  void make(const InstancePlacement& lie, size_t n, const Plan& plan, const LearningRule& rule) {
    std::vector<StagePtr> stages(lie.placement.size());
    std::vector<StagePorts> ports;
    for (size_t i = 0; i < lie.placement.size(); ++i) {
      const size_t s = lie.stage_of.empty() ? i : size_t(lie.stage_of[i]);
      const Waits w = waits(s);
      StageNet net{.name = str("stage", s), .init = {}, .body = nullptr};
      net.body = std::make_unique<WaitingStage>(net.init.scope(net.name), w, s == 0, s + 1 == n);
      ports.push_back({net.body->in_ports(), net.body->out_ports()});
      if (ranks_.many() && lie.placement[i] != ranks_.rank()) continue;
      stages[i] = std::make_unique<Stage>(std::move(net), streams_[size_t(lie.placement[i])], /*seed=*/1,
                                          std::make_unique<Sgd>(),
                                          [](int64_t) { return std::vector<GroupSettings>(1, {.lr = 1e-3f}); });
    }
    pipeline_ = make_pipeline(std::move(stages), ports, rule, plan, {.stage_of = lie.stage_of});
  }

  const Options& options_;
  const Ranks& ranks_;
  std::vector<Stream> streams_;
  CostModel costs_{.forward = {}, .backward_input = {}, .backward_weight = {}, .update = {}};
  Pipeline pipeline_;
  double share_ = 1;  // of a worker's work in each of its stages
  int64_t step_ = 0;
  Row row_;
};

void measure(const Options& o, const Ranks& ranks) {
  const double between = latency(ranks, 1e-3 * o.unit);
  Table table({"schedule", "workers", "simulated over real", "idle", "simulated"});
  nlohmann::ordered_json json;
  for (const int workers : ranks.many() ? std::vector<int>{ranks.count()} : o.workers)
    for (const PlanSchedule& s : schedules()) {
      const bool all_work = !ranks.many() || (s.name != std::string("one_device") && s.spread == nullptr);
      if (!s.error_crosses || !all_work) continue;
      if (ranks.leads()) fmt::print(stderr, "{} on {} workers   \r", s.name, workers);
      Waiting waiting(s, workers, o, ranks, between);
      for (int64_t round = 0; round < o.rounds; ++round) waiting.run(2);
      const Row& r = waiting.row();
      table.add({r.schedule, std::to_string(r.workers), fmt::format("{:.3f}", median(r.ratios)),
                 fmt::format("{:.1f} %", 100 * median(r.idle)), fmt::format("{:.1f} %", 100 * r.simulated_idle)});
      json[fmt::format("{}.{}", s.name, workers)] = {{"simulated_over_real", median(r.ratios)},
                                                     {"bubble_measured", median(r.idle)},
                                                     {"bubble_simulated", r.simulated_idle}};
    }
  if (!ranks.leads()) return;
  fmt::print("{}", table.text());
  if (ranks.many()) fmt::print("a message between processes takes {:.2f} ms\n", 1e3 * between);
  if (!o.json.empty()) write_file(o.json, json.dump(2) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"The simulator beside the clock, on stages that wait for a stated time.", "waits_bench"};
  app.add_option("--json", o.json, "write all figures to this file");
  app.add_option("--workers", o.workers, "numbers of workers, such as 4,8")->delimiter(',')->capture_default_str();
  app.add_option("--rounds", o.rounds, "rounds that medians are taken over")->capture_default_str();
  app.add_option("--mbs", o.mbs, "micro-batches of a step")->capture_default_str();
  app.add_option("--unit", o.unit, "milliseconds of the shortest forward")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    among_ranks([&](const Ranks& ranks) { measure(o, ranks); });
    return 0;
  } catch (const ToldError&) {
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "waits_bench: " << e.what() << "\n";
    return 1;
  }
}
