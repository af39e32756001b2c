// pipeline_bench [--json FILE]: every schedule and rule on one residual network cut into four stages of about equal
// cost, over two devices, by default CPU devices of one core each. Rows run side by side in short rounds, in reverse
// order every other round, so that a drift of the machine's speed meets all alike; ratios are medians over rounds. The
// images are random: only time, memory and traffic are measured.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/median.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "bench/pipeline_row.h"
#include "engine/error.h"
#include "models/auxiliary_resnet.h"
#include "optim/sgd.h"
#include "pipeline/partition.h"
#include "pipeline/schedules.h"

namespace {

using namespace sluice;
using bench::PipelineRow;
using bench::RowPlan;
using bench::Subject;

struct Options {
  std::string json, devices = "cpu:0,cpu:1";
  std::vector<std::string> rows;  // keys; none: all
  int64_t samples = 16, rounds = 5, depth = 34, mbs = 8, async_mbs = 60;
  double width = 0.25, seconds = 0.4;
  bool adam = false;
};

/// Where the four stages lie: in a row (bidirectional schedules add the same backwards), in turns, or down and up a V.
const Placement kRuns{0, 0, 1, 1}, kTurns{0, 1, 0, 1}, kV{0, 1, 1, 0};

std::vector<RowPlan> plans(const Options& o) {
  const auto m = int(o.mbs);
  std::vector<RowPlan> all;
  for (const char* schedule : {"naive_split", "gpipe", "one_f_one_b", "zb_h1", "zb_h2"})
    all.push_back({schedule, "backprop", kRuns, m});
  all.push_back({"interleaved", "backprop", kTurns, m});
  for (const char* schedule : {"zb_v", "v_half", "v_min"}) all.push_back({schedule, "backprop", kV, m});
  for (const char* schedule : {"chimera", "dual_pipe"}) all.push_back({schedule, "backprop", kRuns, m});
  for (const LearningRule& r : rules())
    if (!r.synchronous) all.push_back({"async_1f1b", r.name, kRuns, r.name == std::string("2bw") ? 2 : 1});
  if (o.rows.empty()) return all;
  std::vector<RowPlan> some;
  for (const RowPlan& p : all)
    if (std::count(o.rows.begin(), o.rows.end(), p.schedule + "." + p.rule) > 0) some.push_back(p);
  return some;
}

/// Four stages: halves of about equal cost, each halved again. Costs are measured with every unit a stage.
std::vector<int> balanced_cuts(Subject subject) {
  subject.cuts = all_cuts(subject.net);
  const int units = int(subject.net.units.size());
  PipelineRow row(subject, {"one_device", "backprop", all_on_one(units), 2});
  row.run(2);
  Trace trace;
  row.run(8, &trace);
  const CostModel costs = bench::costs_of(trace, units, {});
  const auto halved = [&](int begin, int end) {
    std::vector<double> some;
    for (int u = begin; u < end; ++u)
      some.push_back(costs.forward[size_t(u)] + costs.backward_input[size_t(u)] + costs.backward_weight[size_t(u)]);
    const Placement p = partition(some, 2, true).placement;
    return begin + int(std::find(p.begin(), p.end(), 1) - p.begin());
  };
  const int middle = halved(0, units);
  return {halved(0, middle), middle, halved(middle, units)};
}

/// What rows of one number of micro-batches are compared with: one device; and two such runs at once, which show what
/// two cores of this machine can do and what actions take while both are at work.
class Base {
 public:
  Base(const Subject& s, int mbs)
      : one_(s, alone("one_device", mbs)),
        first_(s, alone("one_device", mbs)),
        halves_(s, alone("zb_h1", mbs)),
        second_(s, alone("one_device", mbs), /*first=*/1) {}

  void warm_up() {
    for (PipelineRow* r : {&one_, &first_, &halves_, &second_}) r->run(2);
  }
  void measure(double seconds) {
    const int64_t steps = std::max<int64_t>(2, int64_t(seconds / one_.seconds().back()));
    const double alone = one_.run(steps);
    pair_.push_back(2 * alone / (at_once(first_, whole_, steps) + second_.seconds().back()));
    at_once(halves_, split_, steps);
  }

  const PipelineRow& one() const { return one_; }
  double pair() const { return median(pair_); }
  CostModel costs(const PipelineRow& of) const {
    const bool split = of.plan().schedule.starts_with("zb_") || of.plan().schedule.starts_with("v_") ||
                       of.plan().schedule == "dual_pipe";
    return bench::costs_of(split ? split_ : whole_, 4, of.sent());
  }

 private:
  static RowPlan alone(const char* schedule, int mbs) { return {schedule, "backprop", all_on_one(4), mbs}; }
  double at_once(PipelineRow& traced, Trace& trace, int64_t steps) {
    std::thread beside([&] { second_.run(steps); });
    const double seconds = traced.run(steps, &trace);
    beside.join();
    return seconds;
  }

  PipelineRow one_, first_, halves_, second_;
  Trace whole_{1 << 20}, split_{1 << 20};
  std::vector<double> pair_;  // rate of two runs at once over twice the rate of one
};

/// What the row itself shows in one more stretch.
CostModel traced(PipelineRow& row, int64_t steps) {
  Trace trace(1 << 20);
  row.run(steps, &trace);
  return bench::costs_of(trace, int(row.pipeline().stages.size()), row.sent());
}

struct Figures {
  double over_one = 0, share = 0, bubble = 0, formula = 0, simulated = 0;
  int64_t wire_bytes = 0;  // of a micro-batch
};

/// All rows of one network.
class PipelineBench {
 public:
  PipelineBench(const Options& o, const Subject& subject) : options_(o) {
    for (const RowPlan& p : plans(o)) {
      bases_.try_emplace(p.mbs, nullptr);
      rows_.push_back(std::make_unique<PipelineRow>(subject, p));
    }
    for (auto& entry : bases_) entry.second = std::make_unique<Base>(subject, entry.first);
  }

  void measure() {
    for (auto& entry : bases_) entry.second->warm_up();
    for (auto& r : rows_) r->run(4);
    for (int64_t round = 0; round < options_.rounds; ++round) {
      for (auto& entry : bases_) entry.second->measure(options_.seconds);
      for (size_t i = 0; i < rows_.size(); ++i) {
        PipelineRow& r = *rows_[round % 2 == 0 ? i : rows_.size() - 1 - i];
        r.run(steps_of(r));
      }
      std::cerr << "round " << round + 1 << " of " << options_.rounds << "\r" << std::flush;
    }
    for (auto& r : rows_) own_[r->key()] = traced(*r, steps_of(*r));
  }

  Figures figures(const PipelineRow& r) const {
    const Base& base = *bases_.at(r.plan().mbs);
    CostModel costs = base.costs(r);
    const double share = largest_share(costs);
    costs.link = own_.at(r.key()).link;
    if (r.pipeline().stages.size() > 4) {
      std::erase_if(costs.edges, [](const EdgeBytes& e) { return e.to >= 4; });  // those of second instances are alike
      costs = between(r.pipeline().wiring.instances, costs);
    }
    const Timeline t =
        simulate(r.pipeline().plan, r.pipeline().wiring, costs, r.last_steps() * r.pipeline().report.mbs_per_step);
    Figures f;
    f.over_one = paired(timed(base.one().seconds()), timed(r.seconds()));
    f.share = f.over_one * share / base.pair();
    f.bubble = r.idle_share();
    const bench::Halves h = halves_of(base);
    const bool drains = r.plan().schedule != "async_1f1b";
    f.formula = bench::bubble_formula(r.plan().schedule, 2, drains ? r.plan().mbs : r.last_steps() * r.plan().mbs, h);
    f.simulated = t.makespan / double(r.last_steps()) / median(timed(r.seconds()));
    for (const Sent& s : r.sent()) f.wire_bytes += s.bytes / s.parcels;
    return f;
  }

  void print() const {
    Table table({"schedule", "rule", "over one device", "of the ceiling", "idle", "formula", "simulated", "weights",
                 "kept, MB", "on the wire, kB"});
    for (const auto& r : rows_) {
      const Figures f = figures(*r);
      std::string copies, kept;
      for (const double c : r->weight_copies()) copies += fmt::format("{}{:.2g}", copies.empty() ? "" : " ", c);
      for (const int64_t b : r->activation_bytes())
        kept += fmt::format("{}{:.1f}", kept.empty() ? "" : " ", double(b) / 1e6);
      table.add({r->plan().schedule, r->plan().rule, fmt::format("{:.2f}", f.over_one),
                 fmt::format("{:.1f} %", 100 * f.share), fmt::format("{:.1f} %", 100 * f.bubble),
                 fmt::format("{:.1f} %", 100 * f.formula), fmt::format("{:.3f}", f.simulated), copies, kept,
                 fmt::format("{:.0f}", double(f.wire_bytes) / 1e3)});
    }
    fmt::print("\n{}", table.text());
    for (const auto& entry : bases_)
      fmt::print(
          "{} micro-batches of {} samples: {:.1f} ms a step on one device; two at once reach {:.3f} of twice one\n",
          entry.first, options_.samples, 1e3 * median(timed(entry.second->one().seconds())), entry.second->pair());
    fmt::print("the forecast takes {:.2f} % of a step\n", 100 * prediction_share());
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json j;
    for (const auto& r : rows_) {
      const Figures f = figures(*r);
      j[r->key()] = {{"throughput_over_one_device", f.over_one},
                     {"share_of_ceiling", f.share},
                     {"bubble_measured", f.bubble},
                     {"bubble_formula", f.formula},
                     {"simulated_over_real", f.simulated},
                     {"weight_copies", r->weight_copies()},
                     {"activation_bytes", r->activation_bytes()},
                     {"wire_bytes", f.wire_bytes}};
    }
    j["prediction_share_of_step"] = prediction_share();
    return j;
  }

  /// What PipeOptim's updates, which foretell in the same pass, take longer than those of the same schedule without
  /// forecasts, of all work of a step. Whole steps differ by more from round to round.
  double prediction_share() const {
    const auto with = own_.find("async_1f1b.pipeoptim"), without = own_.find("async_1f1b.naive");
    if (with == own_.end() || without == own_.end()) return 0;
    double longer = 0, all = 0;
    for (size_t i = 0; i < 4; ++i) {
      const CostModel &a = with->second, &b = without->second;
      longer += a.update[i] - b.update[i];
      all += b.forward[i] + b.backward_input[i] + b.backward_weight[i] + b.update[i];
    }
    return longer / all;
  }

 private:
  /// Without the stretch that warmed up, nor the one that was traced.
  std::vector<double> timed(std::vector<double> seconds) const {
    seconds.erase(seconds.begin());
    if (int64_t(seconds.size()) > options_.rounds) seconds.resize(size_t(options_.rounds));
    return seconds;
  }
  /// An asynchronous pipeline fills once a run, so its runs are long enough for that not to matter.
  int64_t steps_of(const PipelineRow& r) const {
    const int64_t least = r.plan().schedule == "async_1f1b" ? options_.async_mbs / r.plan().mbs : 4;
    return std::max(least, int64_t(options_.seconds / r.seconds().front()));
  }
  /// The larger of two devices' loads over their sum, under the best placement of the stages.
  static double largest_share(const CostModel& costs) {
    std::vector<double> stages;
    double sum = 0;
    for (size_t i = 0; i < 4; ++i) {
      stages.push_back(costs.forward[i] + costs.backward_input[i] + costs.backward_weight[i] + costs.update[i]);
      sum += stages.back();
    }
    return partition(stages, 2, false).largest_load / sum;
  }
  bench::Halves halves_of(const Base& base) const {
    const CostModel costs = base.costs(*rows_.front());
    bench::Halves h{0, 0, 0};
    for (size_t i = 0; i < 4; ++i) {
      h.f += costs.forward[i];
      h.b += costs.backward_input[i];
      h.w += costs.backward_weight[i];
    }
    return h;
  }

  Options options_;
  std::map<int, std::unique_ptr<Base>> bases_;  // by micro-batches of a step
  std::vector<std::unique_ptr<PipelineRow>> rows_;
  std::map<std::string, CostModel> own_;  // as the rows themselves show them
};

/// One weight and next to no work: what a step takes is what its actions cost the executor, and a few small kernels.
class EmptyStage final : public StageBody {
 public:
  explicit EmptyStage(Init init) : linear_{init.param("w", {1, 1}, InitialValue::uniform(1)), Param{}, Act::kNone} {}
  std::vector<Port> feed_ports() const override { return {{"x"}}; }
  std::vector<Port> in_ports() const override { return {}; }
  std::vector<Port> out_ports() const override { return {}; }
  StageOutput forward(Ctx& c, const Bundle& feed, const Bundle&, float) const override {
    return {.out = {}, .losses = {mse(c, matmul(c, feed[0], linear_), feed[0].value)}};
  }
  Bundle infer(Ctx&, const Bundle& in) const override { return in; }
  Var head(Ctx&, const Bundle& s) const override { return s[0]; }
  Var decode(Ctx&, const Var& z) const override { return z; }

 private:
  Linear linear_;
};

double executor_us_per_action() {
  const std::vector<Device> host{{DeviceKind::kCpu, 0}};
  const Stream stream(host[0], share_cores(host, 1)[0]);
  std::vector<StagePtr> stages;
  StageNet net{.name = "empty", .init = {}, .body = nullptr};
  net.body = std::make_unique<EmptyStage>(net.init);
  stages.push_back(std::make_unique<Stage>(std::move(net), stream, 1, std::make_unique<Sgd>(),
                                           [](int64_t) { return std::vector<GroupSettings>(1); }));
  Pipeline pipeline = make_pipeline(std::move(stages), find_rule("backprop"), one_device({0}, 1));
  const Tensor x = Tensor::from<float>(stream, std::vector<float>{1}, {1, 1}, MemoryTag::kIo);
  RunOptions o;
  o.feed = [&](const FeedRequest&) { return Parcel{{x}}; };
  std::vector<double> us;
  for (int round = 0; round < 5; ++round) {
    o.steps = 2000;
    const RunResult r = execute(pipeline, o);
    us.push_back(1e6 * r.wall_s / double(3 * o.steps));  // forward, backward, update
  }
  return median(us);
}

void run(const Options& o) {
  Subject subject{
      .net = auxiliary_resnet_units(
          {.depth = int(o.depth), .width = o.width, .rule = ResnetRule::kBackprop, .start = ConvStart::kFanOut}),
      .cuts = {},
      .samples = o.samples,
      .adam = o.adam,
      .devices = parse_devices(o.devices)};
  if (subject.devices.size() != 2) throw ConfigError(str("devices=", o.devices, ": expected two"));
  subject.cuts = balanced_cuts(subject);
  fmt::print("ResNet-{}, width {}, {} samples a micro-batch, stages begin at units 0, {}\n", o.depth, o.width,
             o.samples, fmt::join(subject.cuts, ", "));
  PipelineBench b(o, subject);
  b.measure();
  b.print();
  const double us = executor_us_per_action();
  fmt::print("the executor takes {:.1f} us an action\n", us);
  nlohmann::ordered_json j = b.json();
  j["executor_us_per_action"] = us;
  if (!o.json.empty()) write_file(o.json, j.dump(2) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app{"Every schedule and rule on one residual network over two devices.", "pipeline_bench"};
  app.add_option("--json", o.json, "write all figures to this file");
  app.add_option("--devices", o.devices, "two; CPU devices have one core each")->capture_default_str();
  app.add_option("--depth", o.depth, "of the ResNet: 18, 34, 50, 101 or 152")->capture_default_str();
  app.add_option("--width", o.width, "width multiplier")->capture_default_str();
  app.add_option("--samples", o.samples, "samples of a micro-batch")->capture_default_str();
  app.add_option("--mbs", o.mbs, "micro-batches of a synchronous step")->capture_default_str();
  app.add_option("--async-mbs", o.async_mbs, "micro-batches of an asynchronous stretch, at least")
      ->capture_default_str();
  app.add_option("--rounds", o.rounds, "rounds that medians are taken over")->capture_default_str();
  app.add_option("--seconds", o.seconds, "of a stretch of a row in a round, about")->capture_default_str();
  app.add_option("--rows", o.rows, "rows such as zb_h1.backprop,async_1f1b.pipeoptim [all]")->delimiter(',');
  app.add_flag("--adam", o.adam, "AdamW instead of SGD with momentum");
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "pipeline_bench: " << e.what() << "\n";
    return 1;
  }
}
