// `sluice demo`: trains one VGG five ways in one run and compares them.
#include "apps/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "apps/commands.h"
#include "apps/progress.h"
#include "apps/run_dir.h"
#include "apps/table.h"
#include "pipeline/partition.h"

namespace sluice {
namespace {

struct DemoOptions {
  std::string data_dir, devices = "cpu:0,cpu:1", json, out = "runs/demo";
  int64_t seed = 1, epochs = 1, steps = 0;
  double width = 0.125;
  bool quick = false;
};

RunConfig base_config(const DemoOptions& o) {
  RunConfig c;
  c.data_dir = o.data_dir;
  c.seed = o.seed;
  c.epochs = o.epochs;
  c.width = o.width;
  c.batch = 32;
  c.lr = 3e-3;
  c.augmentation = "none";
  return c;
}

/// The five rows: one-device rows on the first device, the others on all of them.
std::vector<DemoRow> make_rows(const DemoOptions& o, const TrainingData& data) {
  const std::vector<Device> devices = parse_devices(o.devices);
  if (devices.size() < 2)
    throw ConfigError(str("devices=", o.devices, ": the demo splits over at least two, such as cpu:0,cpu:1"));
  const int each = share_cores(devices)[0].team;
  const std::string first = devices[0].text();
  const auto row = [&](const char* key, const char* title, const char* rule, const std::string& on, int cores,
                       bool trained) {
    RunConfig c = base_config(o);
    c.rule = rule;
    c.devices = on;
    c.cores_per_device = cores;
    return DemoRow(key, title, trained || !o.quick, std::make_unique<Training>(c, data));
  };
  std::vector<DemoRow> rows;
  rows.push_back(row("bp1", "backprop, one device", "bp", first, each, false));
  rows.push_back(row("bp2", "backprop, all cores as one", "bp", first, each * int(devices.size()), true));
  rows.push_back(row("split", "backprop, naive split", "bp", o.devices, each, false));
  rows.push_back(row("al_seq", "AL, one device", "al", first, each, false));
  rows.push_back(row("al", "AL, streamed", "al", o.devices, each, true));
  return rows;
}

/// What sequential AL is measured beside.
Pair make_pair(const DemoOptions& o, const TrainingData& data) {
  RunConfig c = base_config(o);
  c.rule = "al";
  c.devices = o.devices;
  return Pair(c, data);
}

/// Rounds of equal, short stretches, so that a drift of the machine's speed meets all rows alike: what is compared runs
/// side by side, in reverse order every other round. Rows that are trained to the end go on afterwards.
void run_rounds(const DemoOptions& o, std::vector<DemoRow>& rows, Pair& pair, Ceiling& ceiling) {
  constexpr int kRounds = 16, kWarmUp = 3;
  const int64_t all = o.steps > 0 ? o.steps : rows[0].training().total_steps();
  const int64_t stretch = std::min<int64_t>(30, std::max<int64_t>(2, all / kRounds));
  for (DemoRow& r : rows) r.run(kWarmUp, "warm-up", false);
  pair.rate(kWarmUp);
  std::vector<std::string> order = {"bp2", "bp1", "split", "al", "al_seq"};
  for (int round = 0; round < kRounds; ++round) {
    double both = 0;
    if (round % 2 == 1) both = pair.rate(stretch);
    for (const std::string& key : order)
      find_row(rows, key).run(stretch, fmt::format("{}/{}", round + 1, kRounds), true);
    if (round % 2 == 0) both = pair.rate(stretch);
    ceiling.pair_over_two.push_back(both / (2 * find_row(rows, "al_seq").rates().back()));
    std::reverse(order.begin(), order.end());
  }
  for (DemoRow& r : rows)
    if (r.trained() && r.training().step() < all) r.run(all - r.training().step(), "the rest", false);
  for (DemoRow& r : rows) r.evaluate();
}

void demo(const DemoOptions& o) {
  RunConfig config = base_config(o);
  check_config(config);
  const TrainingData data = load_data(config);
  const Shape& image = images_of(config, *data.train).image;
  fmt::print("Fashion-MNIST: {} training and {} test images, padded to {}x{}\n", data.train->size(), data.test->size(),
             image[0], image[1]);
  std::vector<DemoRow> rows = make_rows(o, data);
  Pair pair = make_pair(o, data);
  fmt::print("VGG, width {}, batch {}, Adam {} falling to {}, no augmentation, seed {}: the same for every row\n",
             config.width, config.batch, config.lr, config.end_lr, config.seed);
  Ceiling ceiling;
  run_rounds(o, rows, pair, ceiling);
  const DemoRow& streamed = find_row(rows, "al");
  ceiling.stage_costs = find_row(rows, "al_seq").stage_seconds();
  ceiling.devices = int(streamed.training().devices().size());

  const RunDir dir(o.out);
  for (const DemoRow& r : rows) write_file(fmt::format("{}/{}.trace.json", o.out, r.key()), r.trace_json());
  write_file(o.out + "/metrics.csv", metrics_csv(rows));
  fmt::print("\n{}\n{}", table_text(rows), summary_text(rows, ceiling));
  fmt::print("traces (ui.perfetto.dev): {}/al.trace.json and others; losses of every step: {}/metrics.csv\n", o.out,
             o.out);
  if (!o.json.empty()) write_file(o.json, json_text(rows, ceiling));
}

}  // namespace

void add_demo(CLI::App& app) {
  auto o = std::make_shared<DemoOptions>();
  CLI::App* command =
      app.add_subcommand("demo", "Train one VGG on Fashion-MNIST five ways and compare them (scripts/demo)");
  command->add_option("--data-dir", o->data_dir, "folder with Fashion-MNIST's four idx files")->required();
  command->add_flag("--quick", o->quick, "rows that only measure speed train some dozens of steps");
  command->add_option("--json", o->json, "write all figures to this file");
  command->add_option("--devices", o->devices, "at least two devices")->capture_default_str();
  command->add_option("--seed", o->seed, "seed of weights, shuffling and augmentation")->capture_default_str();
  command->add_option("--epochs", o->epochs, "passes over the training set")->capture_default_str();
  command->add_option("--steps", o->steps, "stop each row after so many steps; 0: whole epochs")->capture_default_str();
  command->add_option("--width", o->width, "width multiplier of the network")->capture_default_str();
  command->add_option("--out", o->out, "folder for traces and metrics")->capture_default_str();
  command->callback([o] { demo(*o); });
}

}  // namespace sluice
