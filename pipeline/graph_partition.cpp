// Dynamic programming over cuts, machines and levels.
#include "pipeline/graph_partition.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace sluice {
namespace {

constexpr double kUnreached = std::numeric_limits<double>::infinity();
constexpr int kStart = -1;  // the cut before everything

/// The best way to run what lies between two cuts on so many machines.
struct Choice {
  double seconds = kUnreached;
  int cut = kStart;  // behind which the last stage begins
  int replicas = 1;  // of the last stage
  int machines = 0;  // that the whole uses
};

/// Sums between two cuts.
struct Between {
  double seconds = 0, activations = 0, parameters = 0;
};

class LevelTable {
 public:
  /// `inner` gives the time on one machine of this level, which is `inner_machines` of the level below.
  /// The outermost is asked only for what lies between the start and a cut.
  LevelTable(const std::vector<CutState>& states, const PartitionOptions& options, size_t index,
             const LevelTable* inner, int devices)
      : states_(states), options_(options), level_(options.levels[index]), inner_(inner), devices_(devices) {
    const size_t n = states.size();
    behind_.assign(n + 1, std::vector<bool>(n, true));
    for (size_t j = 0; j < n; ++j)
      for (size_t k = 0; k < n; ++k) behind_[k + 1][j] = k < j && states[j].contains(states[k]);
    const size_t begins = index + 1 == options.levels.size() ? 1 : n;
    table_.assign(begins * n * size_t(level_.machines + 1), {});
    for (int from = kStart; from + 1 < int(begins); ++from)
      for (int to = from + 1; to < int(n); ++to)
        if (is_behind(from, to))
          for (int m = 1; m <= level_.machines; ++m) choose(from, to, m);
  }

  const Choice& at(int from, int to, int m) const { return table_[place(from, to, m)]; }
  const Choice& all(int from, int to) const { return at(from, to, level_.machines); }
  int machines() const { return level_.machines; }
  const LevelTable* inner() const { return inner_; }

 private:
  bool is_behind(int from, int to) const { return behind_[size_t(from + 1)][size_t(to)]; }
  size_t place(int from, int to, int m) const {
    return (size_t(from + 1) * states_.size() + size_t(to)) * size_t(level_.machines + 1) + size_t(m);
  }
  Between between(int from, int to) const {
    const CutState& b = states_[size_t(to)];
    if (from == kStart) return {b.seconds, b.activations, b.parameters};
    const CutState& a = states_[size_t(from)];
    return {b.seconds - a.seconds, b.activations - a.activations, b.parameters - a.parameters};
  }
  double on_one_machine(int from, int to) const {
    return inner_ == nullptr ? between(from, to).seconds : inner_->all(from, to).seconds;
  }
  /// Of a stage on m replicas, and of its gradients' sum at a bandwidth for each of so many.
  double stage_seconds(int from, int to, int m, int lanes) const {
    const double sum = 4.0 * (m - 1) * between(from, to).parameters / (level_.bandwidth * m * lanes);
    return (on_one_machine(from, to) + sum) / m;
  }
  bool fits(int from, int to, int replicas, int machines) const {
    const Between b = between(from, to);
    const int behind = level_.machines - machines;
    const double kept = std::ceil(double(behind) / replicas) + 1;
    return kept * (b.activations + b.parameters) <= options_.memory * devices_;
  }
  double crossing_seconds(int cut, int replicas) const {
    if (!options_.compression || cut == kStart || cut + 1 == int(states_.size())) return 0;
    return 2.0 * states_[size_t(cut)].crossing / (level_.bandwidth * replicas * *options_.compression);
  }

  void choose(int from, int to, int m) {
    Choice best;
    if ((m == 1 || !options_.straight) && fits(from, to, m, m))
      best = {stage_seconds(from, to, m, inner_ == nullptr ? 1 : inner_->machines()), from, m, m};
    for (int cut = from + 1; cut < to; ++cut) {
      if (!is_behind(from, cut) || !is_behind(cut, to)) continue;
      for (int last = 1; last < m && (last == 1 || !options_.straight); ++last) {
        const Choice& before = at(from, cut, m - last);
        if (before.seconds >= best.seconds || !fits(cut, to, last, m)) continue;
        const double seconds = std::max(
            {before.seconds, stage_seconds(cut, to, last, 1), crossing_seconds(cut, last), crossing_seconds(to, last)});
        if (seconds < best.seconds) best = {seconds, cut, last, before.machines + last};
      }
    }
    if (options_.fewer_machines && m > 1 && at(from, to, m - 1).seconds < best.seconds) best = at(from, to, m - 1);
    table_[place(from, to, m)] = best;
  }

  const std::vector<CutState>& states_;
  const PartitionOptions& options_;
  MachineLevel level_;
  const LevelTable* inner_;
  int devices_;                            // innermost machines in one of this level
  std::vector<std::vector<bool>> behind_;  // [from + 1][to]
  std::vector<Choice> table_;
};

/// Appends the stages between two cuts, in order.
void unfold(const LevelTable& table, int from, int to, int machines, const std::vector<int>& outer,
            std::vector<GraphStage>& stages) {
  const Choice& c = table.at(from, to, machines);
  if (c.cut != from) unfold(table, from, c.cut, c.machines - c.replicas, outer, stages);
  std::vector<int> replicas{c.replicas};
  replicas.insert(replicas.end(), outer.begin(), outer.end());
  if (table.inner() == nullptr)
    stages.push_back({size_t(to), replicas});
  else
    unfold(*table.inner(), c.cut, to, table.inner()->machines(), replicas, stages);
}

void check(const std::vector<CutState>& states, const PartitionOptions& o) {
  if (states.empty()) throw ScheduleError("partition: no cut of the network");
  if (o.levels.empty()) throw ConfigError("partition: no machines");
  for (const MachineLevel& l : o.levels)
    if (l.machines < 1 || !(l.bandwidth > 0))
      throw ConfigError(str("partition: ", l.machines, " machines with ", l.bandwidth,
                            " bytes/s between them, expected positive numbers"));
  if (o.compression && !(*o.compression > 0))
    throw ConfigError(str("partition: compression ", *o.compression, ", expected a positive number"));
}

}  // namespace

int GraphStage::machines() const {
  int all = 1;
  for (const int r : replicas) all *= r;
  return all;
}

GraphPartition partition_graph(const std::vector<CutState>& states, const PartitionOptions& options) {
  check(states, options);
  GraphPartition out;
  out.one_machine_seconds = out.data_parallel_seconds = states.back().seconds;
  std::vector<LevelTable> tables;
  tables.reserve(options.levels.size());  // each points to the one before
  int devices = 1, lanes = 1;
  for (const MachineLevel& level : options.levels) {
    tables.emplace_back(states, options, tables.size(), tables.empty() ? nullptr : &tables.back(), devices);
    const double m = level.machines, sum = 4 * (m - 1) * states.back().parameters / (level.bandwidth * m * lanes);
    out.data_parallel_seconds = (out.data_parallel_seconds + sum) / m;
    devices *= level.machines;
    lanes = level.machines;
  }
  const int last = int(states.size()) - 1;
  out.seconds = tables.back().all(kStart, last).seconds;
  if (out.seconds == kUnreached)
    throw ScheduleError(str("partition: nothing fits ", devices, " machines of ", options.memory, " bytes",
                            options.straight ? " without replicas" : "", " among ", states.size(), " cuts"));
  unfold(tables.back(), kStart, last, tables.back().machines(), {}, out.stages);
  return out;
}

}  // namespace sluice
