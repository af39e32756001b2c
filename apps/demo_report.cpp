// Figures, table and JSON of the demo.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <thread>

#include "apps/demo.h"
#include "apps/median.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "engine/error.h"
#include "pipeline/partition.h"

namespace sluice {
namespace {

struct Comparison {
  double over_split, over_bp2, over_sequential, share_of_ceiling, busy_over_bp1;
};

Comparison compare(const std::vector<DemoRow>& rows, const Ceiling& ceiling) {
  const DemoRow& al = find_row(rows, "al");
  Comparison c{};
  c.over_split = paired(al.rates(), find_row(rows, "split").rates());
  c.over_bp2 = paired(al.rates(), find_row(rows, "bp2").rates());
  c.over_sequential = paired(al.rates(), find_row(rows, "al_seq").rates());
  c.share_of_ceiling = c.over_sequential / ceiling.speedup();
  c.busy_over_bp1 = find_row(rows, "split").busy_per_step() / find_row(rows, "bp1").busy_per_step();
  return c;
}

}  // namespace

Pair::Pair(const RunConfig& config, const TrainingData& data) {
  const std::vector<Device> devices = parse_devices(config.devices);
  const std::vector<CpuShare> shares = share_cores(devices, int(config.cores_per_device));
  for (size_t i = 0; i < 2; ++i) {
    RunConfig c = config;
    c.devices = devices[i].text();
    c.cores_per_device = shares[i].team;
    runs_.push_back(std::make_unique<Training>(c, data));
  }
}

double Pair::rate(int64_t steps) {
  std::vector<RunResult> results(2);
  std::thread other([&] { results[1] = runs_[1]->run({.steps = steps}); });
  results[0] = runs_[0]->run({.steps = steps});
  other.join();
  double sum = 0;
  for (size_t i = 0; i < 2; ++i) sum += double(steps * runs_[i]->config().batch) / results[i].wall_s;
  return sum;
}

DemoRow::DemoRow(std::string key, std::string title, bool trained, std::unique_ptr<Training> training)
    : key_(std::move(key)),
      title_(std::move(title)),
      trained_(trained),
      training_(std::move(training)),
      trace_(std::make_unique<Trace>(20000)),
      device_busy_s_(training_->devices().size()) {}

void DemoRow::run(int64_t steps, const std::string& label, bool counts) {
  const int64_t batch = training_->config().batch, begin = training_->step();
  Progress bar(fmt::format("{:<6} {:>7}", key_, label), steps * batch);
  double loss = 0;
  Stretch stretch{.steps = steps};
  stretch.on_step = [&](const StepReport& r) {
    loss = loss == 0 ? r.loss : 0.9 * loss + 0.1 * r.loss;
    bar.update((r.step + 1 - begin) * batch, loss);
    steps_.push_back(r);
  };
  stretch.trace = counts ? trace_.get() : nullptr;
  const size_t before = trace_->spans().size();
  const RunResult result = training_->run(stretch);
  bar.finish();
  if (!counts) return;
  rates_.push_back(steady_rate(before));
  for (size_t i = 0; i < device_busy_s_.size(); ++i) device_busy_s_[i] += result.busy_s[i];
  wall_s_ += result.wall_s;
}

/// Samples per second between ends of the last stage's updates in the spans from `begin` on. A quarter of them at
/// either end is left out: there a pipeline fills, and later its last stages have the devices to themselves.
double DemoRow::steady_rate(size_t begin) const {
  std::vector<double> ends;
  const int last = int(training_->placement().size()) - 1;
  for (size_t i = begin; i < trace_->spans().size(); ++i) {
    const Trace::Span& s = trace_->spans()[i];
    if (s.action.what == Do::kUpdate && s.action.stage == last) ends.push_back(s.end.time());
  }
  const size_t first = ends.size() / 4, end = ends.size() - 1 - ends.size() / 4;
  return double(int64_t(end - first) * training_->config().batch) / (ends[end] - ends[first]);
}

void DemoRow::evaluate() { accuracy_ = training_->evaluate().accuracy(); }

double DemoRow::samples_per_s() const { return median(rates_); }
std::vector<double> DemoRow::idle_shares() const {
  std::vector<double> shares;
  for (const double b : device_busy_s_) shares.push_back(1 - b / wall_s_);
  return shares;
}
double DemoRow::idle_share() const {
  double sum = 0;
  for (const double s : idle_shares()) sum += s;
  return sum / double(device_busy_s_.size());
}
std::vector<double> DemoRow::stage_seconds() const { return stage_costs(*trace_, int(training_->placement().size())); }
double DemoRow::busy_per_step() const {
  const std::vector<double> stages = stage_seconds();
  return std::accumulate(stages.begin(), stages.end(), 0.0);
}

std::string DemoRow::trace_json() const {
  std::vector<std::string> names;
  for (const Device& d : training_->devices()) names.push_back(d.text());
  std::ostringstream out;
  trace_->write_json(out, names);
  return out.str();
}

const DemoRow& find_row(const std::vector<DemoRow>& rows, const std::string& key) {
  for (const DemoRow& r : rows)
    if (r.key() == key) return r;
  throw Error("no row " + key);
}
DemoRow& find_row(std::vector<DemoRow>& rows, const std::string& key) {
  return const_cast<DemoRow&>(find_row(std::as_const(rows), key));
}

double Ceiling::stage_sum() const {
  double sum = 0;
  for (const double c : stage_costs) sum += c;
  return sum;
}
double Ceiling::largest_load() const { return partition(stage_costs, devices, false).largest_load; }
double Ceiling::pair() const { return median(pair_over_two); }

std::string table_text(const std::vector<DemoRow>& rows) {
  Table t({"row", "", "cores", "steps", "samples/s", "speed-up", "test acc.", "stored", "peak mem.", "idle"});
  const double base = rows[0].samples_per_s();
  for (const DemoRow& r : rows) {
    std::string idle;
    for (const double s : r.idle_shares()) idle += fmt::format("{}{:.0f} %", idle.empty() ? "" : ", ", 100 * s);
    t.add({r.key(), r.title(), fmt::format("{}", r.training().cores()), fmt::format("{}", r.training().step()),
           fmt::format("{:.0f}", r.samples_per_s()), fmt::format("{:.2f}x", r.samples_per_s() / base),
           fmt::format("{:.2f} %", 100 * r.test_accuracy()), bytes_text(r.bytes_stored()), bytes_text(r.peak_memory()),
           idle});
  }
  return t.text();
}

std::string summary_text(const std::vector<DemoRow>& rows, const Ceiling& ceiling) {
  const Comparison c = compare(rows, ceiling);
  std::string costs;
  for (const double s : ceiling.stage_costs) costs += fmt::format("{}{:.1f}", costs.empty() ? "" : " + ", 1e3 * s);
  std::string out;
  out += fmt::format("AL streamed over naive split  {:.2f}x   over backprop on all cores  {:.2f}x\n", c.over_split,
                     c.over_bp2);
  out += fmt::format("naive split busy over backprop on one device  {:.3f}\n", c.busy_over_bp1);
  out += fmt::format("AL streamed over AL on one device  {:.2f}x = {:.1f} % of the ceiling {:.2f}x\n",
                     c.over_sequential, 100 * c.share_of_ceiling, ceiling.speedup());
  out += fmt::format(
      "  ceiling = stages ({} = {:.1f} ms) / largest load ({:.1f} ms) x two runs at once over twice one "
      "({:.3f})\n",
      costs, 1e3 * ceiling.stage_sum(), 1e3 * ceiling.largest_load(), ceiling.pair());
  return out;
}

std::string json_text(const std::vector<DemoRow>& rows, const Ceiling& ceiling) {
  nlohmann::ordered_json j;
  for (const DemoRow& r : rows) {
    j[r.key() + ".samples_per_s"] = r.samples_per_s();
    j[r.key() + ".test_accuracy"] = r.test_accuracy();
    j[r.key() + ".idle_share"] = r.idle_share();
    j[r.key() + ".idle_shares"] = r.idle_shares();
    j[r.key() + ".cores"] = r.training().cores();
    j[r.key() + ".steps"] = r.training().step();
    j[r.key() + ".bytes_stored"] = r.bytes_stored();
    j[r.key() + ".peak_memory"] = r.peak_memory();
    j[r.key() + ".placement"] = r.training().placement();
  }
  const Comparison c = compare(rows, ceiling);
  j["al.speedup_over_split"] = c.over_split;
  j["al.speedup_over_bp2"] = c.over_bp2;
  j["al.speedup_over_al_seq"] = c.over_sequential;
  j["al.share_of_ceiling"] = c.share_of_ceiling;
  j["split.busy_over_bp1"] = c.busy_over_bp1;
  j["ceiling.stage_seconds"] = ceiling.stage_costs;
  j["ceiling.largest_load_seconds"] = ceiling.largest_load();
  j["ceiling.pair_over_two"] = ceiling.pair();
  j["ceiling.speedup"] = ceiling.speedup();
  const RunConfig& config = rows[0].training().config();
  j["width"] = config.width;
  j["batch"] = config.batch;
  j["epochs"] = config.epochs;
  j["augmentation"] = config.augmentation;
  j["seed"] = config.seed;
  return j.dump(2) + "\n";
}

std::string metrics_csv(const std::vector<DemoRow>& rows) {
  std::string out = "row,step,loss\n";
  for (const DemoRow& r : rows)
    for (const StepReport& s : r.steps()) out += fmt::format("{},{},{:.6g}\n", r.key(), s.step, s.loss);
  return out;
}

}  // namespace sluice
