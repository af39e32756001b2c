// `sluice plan` and `sluice partition`.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <tuple>

#include "apps/commands.h"
#include "apps/config_options.h"
#include "apps/plan_file.h"
#include "apps/plan_search.h"
#include "apps/progress.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "apps/timeline_svg.h"
#include "engine/error.h"
#include "pipeline/graph_partition.h"
#include "pipeline/transfers.h"

namespace sluice {
namespace {

struct PlanOptions {
  std::shared_ptr<ConfigOptions> config;
  std::string memory, mbs, save = "plan.json", svg = "plan.svg", profile;
  double bandwidth = 0, latency = -1;
  int rows = 10;
};

/// "4G", "512M", "1.5GiB", "100000".
int64_t parse_bytes(const std::string& text) {
  if (text.empty()) return std::numeric_limits<int64_t>::max();
  double value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(rest, text.data() + text.size());
  static const std::vector<std::pair<std::string, double>> units{{"", 1},
                                                                 {"K", 1e3},
                                                                 {"M", 1e6},
                                                                 {"G", 1e9},
                                                                 {"KB", 1e3},
                                                                 {"MB", 1e6},
                                                                 {"GB", 1e9},
                                                                 {"KiB", 1024.0},
                                                                 {"MiB", 1024.0 * 1024},
                                                                 {"GiB", 1024.0 * 1024 * 1024}};
  for (const auto& [name, factor] : units)
    if (error == std::errc() && unit == name && value > 0) return std::llround(value * factor);
  throw ConfigError(str("--memory ", text, ": expected bytes such as 4G, 512M or 1.5GiB"));
}

/// A whole number stands for so many devices of the best kind that there is.
RunConfig with_devices(RunConfig c) {
  int count = 0;
  const auto [end, error] = std::from_chars(c.devices.data(), c.devices.data() + c.devices.size(), count);
  if (error != std::errc() || end != c.devices.data() + c.devices.size()) return c;
  if (count < 1 || count > 64) throw ConfigError(str("devices=", c.devices, ": expected 1 to 64 of them"));
  const char* kind = cuda_status().devices > 0 ? "cuda" : "cpu";
  c.devices.clear();
  for (int i = 0; i < count; ++i) c.devices += str(i == 0 ? "" : ",", kind, ":", i);
  return c;
}

/// Divisors of the batch up to 64, or those that were asked for.
std::vector<int64_t> micro_batches(const RunConfig& c, const std::string& asked) {
  const int64_t batch = c.batch_tokens > 0 ? c.batch_tokens : c.batch;
  std::vector<int64_t> all;
  for (const std::string& item : list_items(asked)) {
    int64_t m = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), m);
    if (error != std::errc() || end != item.data() + item.size() || m < 1 || batch % m != 0)
      throw ConfigError(str("--try-micro-batches ", asked, ": expected divisors of the batch, ", batch));
    all.push_back(m);
  }
  for (int64_t m = 1; asked.empty() && m <= std::min<int64_t>(64, batch); ++m)
    if (batch % m == 0) all.push_back(m);
  return all;
}

/// Where stages begin behind the first.
std::string cuts_text(const FoundPlan& f) {
  return fmt::format("{}", fmt::join(f.begins.begin() + 1, f.begins.end(), ","));
}

std::string begins_text(const FoundPlan& f, const UnitCosts& u) {
  if (!u.mergeable) return fmt::format("stages on {}", fmt::join(f.placement, ","));
  const std::string cuts = cuts_text(f);
  return (cuts.empty() ? "uncut" : "cut at " + cuts) +
         (f.workers_of.empty() ? "" : fmt::format(", replicas {}", fmt::join(f.workers_of, ",")));
}

/// Of each schedule, number of devices and of micro-batches the best cut alone.
std::string plans_table(const std::vector<FoundPlan>& plans, const std::vector<UnitCosts>& units, int64_t memory,
                        int rows) {
  Table table({"schedule", "devices", "micro-batches", "samples/s", "bubble", "memory each", ""});
  std::set<std::tuple<std::string, bool, size_t, int64_t>> seen;
  for (const FoundPlan& f : plans) {
    if (int(seen.size()) == rows) break;
    if (!seen.insert({f.schedule, f.workers_of.empty(), f.bytes.size(), f.mbs}).second) continue;
    const auto u = std::find_if(units.begin(), units.end(), [&](const UnitCosts& c) { return c.mbs == f.mbs; });
    std::string bytes;
    for (const WorkerBytes& b : f.bytes) bytes += (bytes.empty() ? "" : ", ") + bytes_text(b.peak());
    table.add({f.schedule, std::to_string(f.bytes.size()), std::to_string(f.mbs),
               fmt::format("{:.1f}", f.samples_per_s), fmt::format("{:.1f} %", 100 * f.bubble), bytes,
               begins_text(f, *u) + (f.peak() > memory ? ", does not fit" : "")});
  }
  return table.text();
}

/// The configuration that trains the plan.
RunConfig planned(RunConfig c, const FoundPlan& f, bool mergeable) {
  const std::vector<std::string> devices = list_items(c.devices);
  c.devices.clear();
  for (size_t d = 0; d < f.bytes.size(); ++d) c.devices += (d ? "," : "") + devices[d];
  c.micro_batches = f.mbs;
  c.placement = f.workers_of.empty() ? fmt::format("{}", fmt::join(f.placement, ",")) : "auto";  // that of the plan
  if (!mergeable) return c;
  c.cuts = f.begins.size() == 1 ? "balanced:1" : cuts_text(f);
  return c;
}

/// Two steps of the best plan.
std::string drawn(const FoundPlan& f, const UnitCosts& units, const PlanRequest& request, const std::string& devices) {
  const StageModel m = model_of(f, units, request);
  int64_t outside = 0;
  for (const Program& p : f.plan.plan) outside = std::max(outside, mbs_outside_period(p));
  const Timeline t = simulate(add_transfers(f.plan.plan, m.wiring), m.wiring, m.costs, outside + 2 * f.mbs);
  std::vector<std::string> lanes = list_items(devices);
  lanes.resize(f.bytes.size());
  return timeline_svg(picture_of(t,
                                 fmt::format("{}, {} micro-batches: {:.1f} samples/s, bubble {:.1f} %", f.schedule,
                                             f.mbs, f.samples_per_s, 100 * f.bubble),
                                 lanes));
}

std::vector<UnitCosts> measure_all(const RunConfig& config, const TrainingData& data, const std::vector<int64_t>& mbs) {
  std::vector<UnitCosts> units;
  Progress bar("measuring", int64_t(mbs.size()), stderr, "sizes");
  for (const int64_t m : mbs) {
    units.push_back(measure_units(config, data, m));
    bar.update(int64_t(units.size()));
  }
  bar.finish();
  return units;
}

void plan(const PlanOptions& o) {
  const RunConfig config = with_devices(with_network_defaults(o.config->resolve()));
  check_config(config);
  if (!config.replicas.empty())
    throw ConfigError(str("plan: replicas='", config.replicas, "': expected none, since it tries all of them"));
  const ModelEntry& model = find_model(config);
  const std::vector<Device> devices = parse_devices(config.devices);
  const TrainingData data = load_data(config);
  const std::vector<UnitCosts> units = measure_all(config, data, micro_batches(config, o.mbs));
  PlanRequest request{.rule = &find_rule(config.weights == "synchronous" ? model.rule_kind : config.weights),
                      .schedule = config.schedule,
                      .devices = int(devices.size()),
                      .samples = config.batch_tokens > 0 ? config.batch_tokens : config.batch,
                      .memory = parse_bytes(o.memory),
                      .link = measure_link(devices)};
  if (o.bandwidth > 0) request.link.bandwidth = o.bandwidth;
  if (o.latency >= 0) request.link.latency = o.latency;
  if (!o.profile.empty()) write_file(o.profile, to_text(profile_of(units.front())));
  const std::vector<FoundPlan> plans = search_plans(request, units);
  if (plans.empty())
    throw ScheduleError(str("schedule=", config.schedule, ": no plan of ", units[0].names.size(), " units on 1 to ",
                            devices.size(), " devices with ", units.front().mbs, " to ", units.back().mbs,
                            " micro-batches"));
  fmt::print("{} units on {}, {} plans; a copy between devices: {:.3g} GB/s and {:.3g} us\n{}", units[0].names.size(),
             config.devices, plans.size(), request.link.bandwidth / 1e9, 1e6 * request.link.latency,
             plans_table(plans, units, request.memory, o.rows));
  const FoundPlan& best = plans.front();
  if (best.peak() > request.memory)
    throw ScheduleError(
        str("no plan keeps within ", o.memory, " a device; the fastest takes ", bytes_text(best.peak())));
  const auto u = std::find_if(units.begin(), units.end(), [&](const UnitCosts& c) { return c.mbs == best.mbs; });
  PlanFile file{.config = planned(config, best, u->mergeable),
                .schedule = best.schedule,
                .plan = best.plan,
                .prediction = {.samples_per_s = best.samples_per_s, .bubble = best.bubble, .bytes = {}}};
  for (const WorkerBytes& b : best.bytes) file.prediction.bytes.push_back(b.peak());
  write_file(o.save, to_json(file));
  write_file(o.svg, drawn(best, *u, request, config.devices));
  fmt::print("{}: the first one, for `sluice train --plan {}`; {}: two of its steps\n", o.save, o.save, o.svg);
}

struct PartitionCommand {
  std::string profile, out;
  std::vector<int> machines{1};
  std::vector<double> bandwidths{1e9};
  double memory = 0, compression = 1;
  bool straight = false, fewer = false, free_communication = false;
};

void partition_profile(const PartitionCommand& o) {
  Profile p = parse_profile(read_text(o.profile), o.profile);
  const std::vector<CutState> states = cut_states(p);
  PartitionOptions options{.levels = {}, .straight = o.straight, .fewer_machines = o.fewer};
  for (size_t i = 0; i < o.machines.size(); ++i)
    options.levels.push_back({o.machines[i], o.bandwidths[std::min(i, o.bandwidths.size() - 1)]});
  options.compression = o.free_communication ? std::nullopt : std::optional<double>(o.compression);
  if (o.memory > 0) options.memory = o.memory;
  const GraphPartition found = partition_graph(states, options);
  std::vector<CutState> cuts;
  Table table({"stage", "machines", "ms", "weights", "handed on"});
  double seconds = 0, parameters = 0;
  for (const GraphStage& s : found.stages) {
    const CutState& c = states[s.last];
    table.add({std::to_string(cuts.size()), std::to_string(s.machines()),
               fmt::format("{:.3f}", 1e3 * (c.seconds - seconds)), bytes_text(std::llround(c.parameters - parameters)),
               bytes_text(std::llround(c.crossing))});
    seconds = c.seconds;
    parameters = c.parameters;
    cuts.push_back(c);
  }
  fmt::print("{}{:.3f} ms for each micro-batch: {:.3f}x one machine; data parallel {:.3f}x\n", table.text(),
             1e3 * found.seconds, found.one_machine_seconds / found.seconds,
             found.one_machine_seconds / found.data_parallel_seconds);
  if (o.out.empty()) return;
  assign_stages(p, cuts);
  write_file(o.out, to_text(p));
}

}  // namespace

void add_plan(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "plan",
      "Measure a network and find the cut, schedule, replicas of stages and micro-batches that train it fastest");
  auto o = std::make_shared<PlanOptions>();
  o->config = add_config_options(*command);
  command->add_option("--memory", o->memory, "bytes that each device may hold, such as 4G [no limit]");
  command->add_option("--try-micro-batches", o->mbs, "such as 4,8,16 [all divisors of the batch up to 64]");
  command->add_option("--bandwidth", o->bandwidth, "bytes per second between devices [measured]");
  command->add_option("--latency", o->latency, "seconds of each parcel between devices [measured]");
  command->add_option("--rows", o->rows, "plans to print, each the best cut of its schedule")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--save", o->save, "the best plan, for `sluice train --plan`")->capture_default_str();
  command->add_option("--svg", o->svg, "picture of two of its steps")->capture_default_str();
  command->add_option("--profile", o->profile, "file for the measured units, in PipeDream's profile format");
  command->callback([o] { plan(*o); });
}

void add_partition(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "partition", "Cut a profile of PipeDream's format into stages, replicated where that is faster");
  auto o = std::make_shared<PartitionCommand>();
  command->add_option("profile", o->profile, "the profile, as text")->required();
  command->add_option("-n,--machines", o->machines, "machines of each level, innermost first")->delimiter(',');
  command->add_option("-b,--bandwidths", o->bandwidths, "bytes per second between those of each level")->delimiter(',');
  command->add_option("-s,--memory", o->memory, "bytes of a machine [no limit]");
  command->add_option("--activation-compression-ratio", o->compression, "what crosses is sent as so much less")
      ->capture_default_str();
  command->add_flag("--free-communication", o->free_communication, "as if what crosses took no time");
  command->add_flag("--straight-pipeline", o->straight, "no replicas");
  command->add_flag("--use-fewer-machines", o->fewer, "machines may be left without work");
  command->add_option("-o,--out", o->out, "file for the profile with the stage of each node");
  command->callback([o] { partition_profile(*o); });
}

}  // namespace sluice
