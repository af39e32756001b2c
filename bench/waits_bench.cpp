// waits_bench [--json FILE]: the simulator beside the clock, with stages that wait for a stated time instead of
// computing, so that many workers share few cores and nothing but the schedule decides. Every schedule of
// backpropagation on each number of workers; medians over rounds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/median.h"
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
  int64_t rounds = 3, mbs = 8;
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

/// A schedule with stages that lie as it wants them, of costs that differ from stage to stage by up to a half.
class Waiting {
 public:
  Waiting(const PlanSchedule& schedule, int workers, const Options& o) : options_(o) {
    const bool turns = schedule.name == std::string("interleaved"), one = schedule.name == std::string("one_device");
    const bool v = schedule.name == std::string("zb_v") || std::string(schedule.name).starts_with("v_");
    Placement placement = one ? all_on_one(workers) : one_each(workers);
    for (int w = 0; (turns || v) && w < workers; ++w) placement.push_back(v ? workers - 1 - w : w);
    const int count = count_workers(placement);
    std::vector<Device> devices;
    for (int w = 0; w < count; ++w) devices.push_back({DeviceKind::kCpu, w});
    for (const Device& d : devices) streams_.emplace_back(d, CpuShare{.team = 1, .cores = {}});
    const double unit = 1e-3 * o.unit * (turns || v ? 0.5 : 1);
    std::vector<StagePtr> stages;
    for (size_t s = 0; s < placement.size(); ++s) {
      const double scale = unit * (1 + 0.25 * double(s % 3));
      const Waits w{scale, 1.2 * scale, 0.8 * scale};
      costs_.forward.push_back(w.forward);
      costs_.backward_input.push_back(w.input);
      costs_.backward_weight.push_back(w.weight);
      StageNet net{.name = str("stage", s), .init = {}, .body = nullptr};
      net.body = std::make_unique<WaitingStage>(net.init.scope(net.name), w, s == 0, s + 1 == placement.size());
      stages.push_back(std::make_unique<Stage>(std::move(net), streams_[size_t(placement[s])], /*seed=*/1,
                                               std::make_unique<Sgd>(),
                                               [](int64_t) { return std::vector<GroupSettings>(1, {.lr = 1e-3f}); }));
    }
    const int mbs = schedule.synchronous ? int(o.mbs) : 1;
    const char* rule = schedule.synchronous ? "backprop" : "pipeoptim";
    const Plan plan =
        schedule.make_for != nullptr ? schedule.make_for(placement, mbs, costs_) : schedule.make(placement, mbs);
    pipeline_ = make_pipeline(std::move(stages), find_rule(rule), plan);
    row_ = {.schedule = schedule.name, .workers = count, .ratios = {}, .idle = {}};
    run(2);  // memory and library plans are made
    row_.ratios.clear();
    row_.idle.clear();
  }

  void run(int64_t steps) {
    RunOptions run;
    run.steps = steps * (pipeline_.wiring.synchronous ? 1 : options_.mbs);
    run.first_step = step_;
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
  const Options& options_;
  std::vector<Stream> streams_;
  CostModel costs_{.forward = {}, .backward_input = {}, .backward_weight = {}, .update = {}};
  Pipeline pipeline_;
  int64_t step_ = 0;
  Row row_;
};

void measure(const Options& o) {
  Table table({"schedule", "workers", "simulated over real", "idle", "simulated"});
  nlohmann::ordered_json json;
  for (const int workers : o.workers)
    for (const PlanSchedule& s : schedules()) {
      if (!s.error_crosses) continue;
      fmt::print(stderr, "{} on {} workers\r", s.name, workers);
      Waiting waiting(s, workers, o);
      for (int64_t round = 0; round < o.rounds; ++round) waiting.run(2);
      const Row& r = waiting.row();
      table.add({r.schedule, std::to_string(r.workers), fmt::format("{:.3f}", median(r.ratios)),
                 fmt::format("{:.1f} %", 100 * median(r.idle)), fmt::format("{:.1f} %", 100 * r.simulated_idle)});
      json[fmt::format("{}.{}", s.name, workers)] = {{"simulated_over_real", median(r.ratios)},
                                                     {"bubble_measured", median(r.idle)},
                                                     {"bubble_simulated", r.simulated_idle}};
    }
  fmt::print("{}", table.text());
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
    measure(o);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "waits_bench: " << e.what() << "\n";
    return 1;
  }
}
