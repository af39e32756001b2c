// Schedules and rules on one VGG: samples per second, idle share, bytes kept for backward, peak memory.
// The images are random and made here, since only time and memory are measured. Two CPU devices of one core each.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "apps/training.h"
#include "engine/error.h"

namespace {

using namespace sluice;

struct Case {
  const char* rule;
  const char* schedule;
  const char* devices;
  int64_t micro_batches;
};

constexpr Case kCases[] = {
    {"bp", "one_device", "cpu:0", 1},  {"bp", "naive_split", "cpu:0,cpu:1", 1},
    {"bp", "gpipe", "cpu:0,cpu:1", 4}, {"bp", "one_f_one_b", "cpu:0,cpu:1", 4},
    {"al", "associated", "cpu:0", 1},  {"al", "associated_streaming", "cpu:0,cpu:1", 1},
};

TrainingData random_images() {
  ImageDataset d;
  d.image = {32, 32, 3};
  d.labels.resize(4096);
  d.pixels.resize(d.labels.size() * 32 * 32 * 3);
  for (size_t i = 0; i < d.pixels.size(); i += 4) {
    const Philox4 words = philox({7, 7}, i, 0);
    for (size_t k = 0; k < 4; ++k) d.pixels[i + k] = uint8_t(words.v[k]);
  }
  for (size_t i = 0; i < d.labels.size(); ++i) d.labels[i] = int32_t(i % 10);
  for (int i = 0; i < 10; ++i) d.class_names.push_back(std::to_string(i));
  d.mean = {0.5f, 0.5f, 0.5f};
  d.stddev = {0.25f, 0.25f, 0.25f};
  const auto data = std::make_shared<const ImageDataset>(std::move(d));
  return {data, data};
}

void run_case(benchmark::State& state, const Case& c, const TrainingData& data) {
  constexpr int64_t kSteps = 12;
  RunConfig config;
  config.data_dir = "random images";
  config.rule = c.rule;
  config.schedule = c.schedule;
  config.devices = c.devices;
  config.cores_per_device = 1;
  config.micro_batches = c.micro_batches;
  config.width = 0.125;
  config.epochs = 1'000;
  Training training(config, data);
  training.run({.steps = 2});
  training.reset_peaks();
  double busy = 0, wall = 0;
  for ([[maybe_unused]] auto _ : state) {
    const RunResult r = training.run({.steps = kSteps});
    state.SetIterationTime(r.wall_s);
    wall += r.wall_s * double(r.busy_s.size());
    for (const double b : r.busy_s) busy += b;
  }
  state.SetItemsProcessed(state.iterations() * kSteps * config.batch);
  state.counters["idle_share"] = 1 - busy / wall;
  state.counters["stored_MB"] = double(training.stored_peak()) / 1e6;
  state.counters["peak_MB"] = double(training.peak_memory()) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const TrainingData data = random_images();
  for (const Case& c : kCases) {
    const std::string name = str(c.rule, "/", c.schedule, "/", c.devices, "/mbs:", c.micro_batches);
    benchmark::RegisterBenchmark(name.c_str(), [&](benchmark::State& s) { run_case(s, c, data); })
        ->UseManualTime()
        ->Iterations(3)
        ->Repetitions(3)
        ->ReportAggregatesOnly()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
