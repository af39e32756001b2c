// kernels_bench [--team N] [Google Benchmark's options]: each kernel against memory, GEMM and the bare library.
//
// Counters of a row: GF/s and GB/s (median time; bytes moved once each), the same as per cent of this machine's triad
// and GEMM ceilings, which are measured before and after the row, and vs_bare: the median of (time of the fastest bare
// variant / our time) over alternating runs; the label names that variant. Our products and the bare ones pack their
// weights at each run. Updates that foretell weights are compared with an update and a forecast (vs_passes) and with
// PipeOptim's released sequence of operations (vs_released). A fused kernel of auxiliary activations has vs_twin
// instead, the same against the passes that it replaces, and the megabytes that those move. CPU devices only.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "apps/median.h"
#include "bench/ceilings.h"

namespace sluice::bench {
namespace {

constexpr int kRounds = 11;
constexpr double kSampleSeconds = 4e-3;  // shorter runs are repeated within one sample

/// Seconds per run, over enough runs to be worth timing.
template <class F>
double sample(const CpuContext& c, int64_t repeats, F&& f) {
  const double start = now(c);
  for (int64_t i = 0; i < repeats; ++i) f();
  return (now(c) - start) / double(repeats);
}

/// Runs `f` on the stream's worker and waits.
template <class F>
void on_worker(const Stream& s, F&& f) {
  s.enqueue([&f](CpuContext& c) { f(c); });
  s.sync();
}

/// The rival with the least time of three runs.
const Rival* fastest(CpuContext& c, const std::vector<Rival>& rivals) {
  const Rival* best = nullptr;
  double least = 0;
  for (const Rival& r : rivals) {
    const auto once = [&] { r.run(c); };
    once();
    double t = sample(c, 1, once);
    for (int i = 0; i < 2; ++i) t = std::min(t, sample(c, 1, once));
    if (best == nullptr || t < least) {
      best = &r;
      least = t;
    }
  }
  return best;
}

void measure(benchmark::State& state, const Row& row, const Stream& s, Ceilings& ceilings) {
  Case c = row.make(s);
  std::vector<Rival> rivals;
  const Rival* rival = nullptr;
  Ceiling before, after;
  int64_t repeats = 1;
  on_worker(s, [&](CpuContext& context) {
    before = ceilings.measure(context);
    if (c.rivals) rivals = c.rivals();
    rival = fastest(context, rivals);
    c.run(context);
    repeats = std::max(int64_t(1), int64_t(kSampleSeconds / sample(context, 1, [&] { c.run(context); })));
  });
  std::vector<double> times, ratios;
  for (auto _ : state) {
    on_worker(s, [&](CpuContext& context) {
      times.push_back(sample(context, repeats, [&] { c.run(context); }));
      if (rival != nullptr) ratios.push_back(sample(context, repeats, [&] { rival->run(context); }) / times.back());
    });
    state.SetIterationTime(times.back());
  }
  on_worker(s, [&](CpuContext& context) { after = ceilings.measure(context); });
  const double t = median(times);
  const double bandwidth = std::max(before.bandwidth, after.bandwidth), flops = std::max(before.flops, after.flops);
  state.counters["MB"] = double(c.cost.bytes()) * 1e-6;
  state.counters["MF"] = double(c.cost.flops) * 1e-6;
  state.counters["GB/s"] = double(c.cost.bytes()) / t * 1e-9;
  state.counters["GF/s"] = double(c.cost.flops) / t * 1e-9;
  state.counters["triad_%"] = 100 * double(c.cost.bytes()) / t / bandwidth;
  state.counters["gemm_%"] = 100 * double(c.cost.flops) / t / flops;
  if (rival == nullptr) return;
  state.counters[c.ratio] = median(ratios);
  if (rival->bytes > 0) state.counters["twin_MB"] = double(rival->bytes) * 1e-6;
  state.SetLabel(rival->name);
}

/// Takes `--team N` out of the arguments.
int team_of(int& argc, char** argv) {
  int team = 1, kept = 0;
  for (int i = 0; i < argc; ++i) {
    if (std::string(argv[i]) == "--team" && i + 1 < argc)
      team = std::max(1, std::atoi(argv[++i]));
    else
      argv[kept++] = argv[i];
  }
  argc = kept;
  return team;
}

}  // namespace

int run(int argc, char** argv) {
  const int team = team_of(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const Stream s(Device{}, CpuShare{.team = team, .cores = {}});
  std::unique_ptr<Ceilings> ceilings;  // large, so made when the first row runs
  for (const auto& rows : {convolution_rows(), product_rows(), memory_rows(), update_rows(), auxiliary_rows()})
    for (const Row& row : rows)
      benchmark::RegisterBenchmark(row.name.c_str(),
                                   [row, &s, &ceilings](benchmark::State& state) {
                                     if (!ceilings) ceilings = std::make_unique<Ceilings>(s);
                                     measure(state, row, s, *ceilings);
                                   })
          ->UseManualTime()
          ->Iterations(kRounds)
          ->Unit(benchmark::kMillisecond);
  benchmark::AddCustomContext("team", std::to_string(team));
  benchmark::AddCustomContext("last_level_cache", std::to_string(last_level_cache()));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace sluice::bench

int main(int argc, char** argv) {
  try {
    return sluice::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "kernels_bench: " << e.what() << "\n";
    return 1;
  }
}
