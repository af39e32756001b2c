// Cuts by enumeration and by dynamic programming.
#include "apps/plan_shapes.h"

#include <algorithm>

#include "pipeline/partition.h"

namespace sluice {
namespace {

constexpr int64_t kFewCuts = 16;     // more are not all tried
constexpr int kSharedOutAnyhow = 6;  // devices; 31 ways

std::vector<int> begins_of(const Placement& runs) {
  std::vector<int> begins{0};
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[i] != runs[i - 1]) begins.push_back(int(i));
  return begins;
}

std::vector<int> begins_of(const GraphPartition& found) {
  std::vector<int> begins{0};
  for (const GraphStage& s : found.stages) begins.push_back(int(s.last) + 1);
  begins.pop_back();
  return begins;
}

/// Of `units` into `chunks`; more than kFewCuts where there are.
int64_t count_cuts(int units, int chunks) {
  int64_t ways = 1;
  for (int64_t k = 1; k <= std::min(chunks - 1, units - chunks) && ways <= kFewCuts; ++k) ways = ways * (units - k) / k;
  return ways;
}

void add_all_cuts(int units, int chunks, std::vector<int>& begins, std::set<std::vector<int>>& to) {
  if (int(begins.size()) == chunks) {
    to.insert(begins);
    return;
  }
  const int left = chunks - int(begins.size());
  for (int u = begins.back() + 1; u + left <= units; ++u) {
    begins.push_back(u);
    add_all_cuts(units, chunks, begins, to);
    begins.pop_back();
  }
}

std::set<std::vector<int>> all_cuts_into(int units, int chunks) {
  std::set<std::vector<int>> all;
  std::vector<int> begins{0};
  add_all_cuts(units, chunks, begins, all);
  return all;
}

/// All ways to give `devices` to stages in a row, one or more each.
void add_shares(int devices, int stages_left, std::vector<int>& shares, std::vector<std::vector<int>>& to) {
  if (devices == 0 && !shares.empty()) to.push_back(shares);
  if (stages_left == 0) return;
  for (int n = 1; n <= devices; ++n) {
    shares.push_back(n);
    add_shares(devices - n, stages_left - 1, shares, to);
    shares.pop_back();
  }
}

/// The gradients of a unit count by the micro-batch: they are added once a step.
std::vector<CutState> with_gradients(const UnitCosts& units) {
  std::vector<CutState> states = cuts_behind(units);
  double bytes = 0;
  for (size_t i = 0; i < states.size(); ++i) {
    bytes += double(CostModel::of(units.costs.bytes, int(i)).gradients);
    states[i].parameters = bytes / double(units.mbs);
  }
  return states;
}

/// The cut whose slowest stage, or parcel, is fastest.
std::vector<int> best_begins(const std::vector<CutState>& states, const std::vector<int>& workers_of,
                             double bandwidth) {
  const size_t units = states.size(), stages = workers_of.size();
  const double never = std::numeric_limits<double>::infinity();
  // best[s][u]: of the first s stages over the first u units; begin[s][u]: where stage s - 1 begins then.
  std::vector<std::vector<double>> best(stages + 1, std::vector<double>(units + 1, never));
  std::vector<std::vector<size_t>> begin(stages + 1, std::vector<size_t>(units + 1, 0));
  best[0][0] = 0;
  for (size_t s = 1; s <= stages; ++s)
    for (size_t u = s; u <= units; ++u)
      for (size_t from = s - 1; from < u; ++from) {
        const double m = workers_of[s - 1];
        const CutState &last = states[u - 1], before = from > 0 ? states[from - 1] : CutState{};
        const double sum = 2 * (m - 1) / m * (last.parameters - before.parameters) / bandwidth;
        const double seconds = std::max({best[s - 1][from], (last.seconds - before.seconds) / m + sum,
                                         from > 0 ? 2 * before.crossing / (bandwidth * m) : 0.0});
        if (seconds >= best[s][u]) continue;
        best[s][u] = seconds;
        begin[s][u] = from;
      }
  std::vector<int> begins(stages);
  for (size_t s = stages, u = units; s > 0; u = begin[s--][u]) begins[s - 1] = int(begin[s][u]);
  return begins;
}

}  // namespace

std::vector<ChunkDevices> shapes(int devices, int units) {
  std::vector<ChunkDevices> all;
  const auto add = [&](ChunkDevices s) {
    if (int(s.size()) <= units && std::find(all.begin(), all.end(), s) == all.end()) all.push_back(std::move(s));
  };
  for (int rounds = 1; rounds <= 4 && rounds * devices <= std::max(units, devices); ++rounds) {
    ChunkDevices turns;
    for (int c = 0; c < rounds * devices; ++c) turns.push_back(c % devices);
    add(std::move(turns));
    if (devices == 1) return all;
  }
  ChunkDevices v;
  for (int c = 0; c < 2 * devices; ++c) v.push_back(std::min(c, 2 * devices - 1 - c));
  add(std::move(v));
  return all;
}

std::vector<CutState> cuts_behind(const UnitCosts& u) {
  std::vector<CutState> states;
  CutState s{.before = std::vector<bool>(size_t(u.wiring.stages), false)};
  for (int i = 0; i < u.wiring.stages; ++i) {
    const StageBytes b = CostModel::of(u.costs.bytes, i);
    s.before[size_t(i)] = true;
    s.seconds += CostModel::of(u.costs.forward, i) + CostModel::of(u.costs.backward_input, i) +
                 CostModel::of(u.costs.backward_weight, i);
    s.activations += double(b.activations - b.shared);
    s.parameters += double(b.weights + b.gradients + b.optimizer);
    s.crossing = 0;
    for (const EdgeBytes& e : u.costs.edges)
      if (e.from <= i && e.to > i) s.crossing += double(e.activations);
    states.push_back(s);
  }
  return states;
}

std::set<std::vector<int>> chunk_begins(const UnitCosts& u, int chunks, const CutLimits& limits) {
  if (count_cuts(u.wiring.stages, chunks) <= kFewCuts) return all_cuts_into(u.wiring.stages, chunks);
  std::set<std::vector<int>> all;
  const std::vector<CutState> states = cuts_behind(u);
  PartitionOptions o{.levels = {{.machines = chunks, .bandwidth = limits.bandwidth}}, .straight = true};
  for (const double memory : {std::numeric_limits<double>::infinity(), limits.memory}) {
    o.memory = memory;
    try {
      all.insert(begins_of(partition_graph(states, o)));
    } catch (const ScheduleError&) {  // nothing fits: the blocks come next
    }
  }
  std::vector<double> bytes;
  for (int i = 0; i < u.wiring.stages; ++i) {
    const StageBytes b = CostModel::of(u.costs.bytes, i);
    bytes.push_back(double(b.weights + b.gradients + b.optimizer + b.activations));
  }
  all.insert(begins_of(partition_blocks(bytes, chunks).placement));
  return all;
}

std::set<ReplicatedStages> replicated_stages(const UnitCosts& u, int devices, double bandwidth) {
  const int units = u.wiring.stages;
  const std::vector<CutState> states = with_gradients(u);
  std::set<ReplicatedStages> all;
  const auto add = [&](std::vector<int> begins, std::vector<int> workers_of) {
    if (workers_of.size() < size_t(devices)) all.insert({std::move(begins), std::move(workers_of)});
  };
  if (devices > kSharedOutAnyhow) {
    const GraphPartition found = partition_graph(states, {.levels = {{.machines = devices, .bandwidth = bandwidth}}});
    std::vector<int> workers_of;
    for (const GraphStage& s : found.stages) workers_of.push_back(s.machines());
    add(begins_of(found), workers_of);
    add({0}, {devices});
    return all;
  }
  std::vector<std::vector<int>> shares;
  std::vector<int> none;
  add_shares(devices, std::min(devices, units), none, shares);
  for (const std::vector<int>& workers_of : shares) {
    const int stages = int(workers_of.size());
    if (count_cuts(units, stages) > kFewCuts)
      add(best_begins(states, workers_of, bandwidth), workers_of);
    else
      for (const std::vector<int>& begins : all_cuts_into(units, stages)) add(begins, workers_of);
  }
  return all;
}

}  // namespace sluice
