// pipeline_bench [--devices A,B] [Google Benchmark's options]: schedules and rules on one VGG: samples per second, idle
// share (CPU devices), bytes kept for backward, peak memory. The images are random and made here, since only time and
// memory are measured. By default two CPU devices of one core each; with one device only the rows that need one run.
#include <benchmark/benchmark.h>

#include <exception>
#include <iostream>
#include <string>

#include "apps/training.h"
#include "bench/random_data.h"
#include "engine/error.h"

namespace {

using namespace sluice;

struct Case {
  const char* rule;
  const char* schedule;
  bool split;  // over all devices; false: on the first
  int64_t micro_batches;
};

constexpr Case kCases[] = {
    {"bp", "one_device", false, 1}, {"bp", "naive_split", true, 1}, {"bp", "gpipe", true, 4},
    {"bp", "one_f_one_b", true, 4}, {"al", "associated", false, 1}, {"al", "associated_streaming", true, 1},
};

void run_case(benchmark::State& state, const Case& c, const std::string& devices, const TrainingData& data) {
  constexpr int64_t kSteps = 12;
  RunConfig config;
  config.data_dir = "random images";
  config.rule = c.rule;
  config.schedule = c.schedule;
  config.devices = devices;
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

/// Takes `--devices LIST` out of the arguments.
std::string devices_of(int& argc, char** argv) {
  std::string devices = "cpu:0,cpu:1";
  int kept = 0;
  for (int i = 0; i < argc; ++i) {
    if (std::string(argv[i]) == "--devices" && i + 1 < argc)
      devices = argv[++i];
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
  return devices;
}

void run(int argc, char** argv) {
  const std::string all = devices_of(argc, argv), first = all.substr(0, all.find(','));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) throw ConfigError("see the line above");
  const TrainingData data = bench::random_images();
  for (const Case& c : kCases) {
    if (c.split && all == first) continue;
    const std::string devices = c.split ? all : first;
    const std::string name = str(c.rule, "/", c.schedule, "/", devices, "/mbs:", c.micro_batches);
    benchmark::RegisterBenchmark(name.c_str(),
                                 [&data, c, devices](benchmark::State& s) { run_case(s, c, devices, data); })
        ->UseManualTime()
        ->Iterations(3)
        ->Repetitions(3)
        ->ReportAggregatesOnly()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "pipeline_bench: " << e.what() << "\n";
    return 1;
  }
}
