// Tries everything in the table of schedules.
#include "apps/plan_search.h"

#include <algorithm>
#include <map>
#include <set>

#include "pipeline/graph_partition.h"
#include "pipeline/partition.h"
#include "pipeline/schedules.h"
#include "pipeline/transfers.h"

namespace sluice {
namespace {

/// The devices of a plan's chunks of units, in order.
using ChunkDevices = std::vector<int>;

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

/// Cuts behind each unit, as the partitioner takes them.
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

std::vector<int> begins_of(const Placement& runs) {
  std::vector<int> begins{0};
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[i] != runs[i - 1]) begins.push_back(int(i));
  return begins;
}

class PlanSearch {
 public:
  PlanSearch(const PlanRequest& request, const UnitCosts& units)
      : request_(request), units_(units), states_(cuts_behind(units)) {}

  std::vector<FoundPlan> run() {
    for (int devices = 1; devices <= std::min(request_.devices, units_.wiring.stages); ++devices)
      for (const ChunkDevices& shape : shapes(devices, units_.wiring.stages))
        for (const std::vector<int>& begins : cuts(int(shape.size()))) try_schedules(shape, begins);
    if (!units_.wiring.error_crosses) try_any_placement();
    return std::move(found_);
  }

 private:
  /// The units at which chunks begin, in the ways that are worth a try.
  std::set<std::vector<int>> cuts(int chunks) const {
    std::set<std::vector<int>> all;
    PartitionOptions o{.levels = {{.machines = chunks, .bandwidth = request_.link.bandwidth}}, .straight = true};
    for (const double memory : {std::numeric_limits<double>::infinity(), double(request_.memory)}) {
      o.memory = memory;
      try {
        std::vector<int> begins{0};
        for (const GraphStage& s : partition_graph(states_, o).stages) begins.push_back(int(s.last) + 1);
        begins.pop_back();
        all.insert(std::move(begins));
      } catch (const ScheduleError&) {  // nothing fits: the blocks come next
      }
    }
    std::vector<double> bytes;
    for (int u = 0; u < units_.wiring.stages; ++u) {
      const StageBytes b = CostModel::of(units_.costs.bytes, u);
      bytes.push_back(double(b.weights + b.gradients + b.optimizer + b.activations));
    }
    all.insert(begins_of(partition_blocks(bytes, chunks).placement));
    return all;
  }

  /// Stages whose errors are their own may lie anywhere.
  void try_any_placement() {
    std::vector<double> seconds;
    std::vector<int> begins;
    for (int u = 0; u < units_.wiring.stages; ++u) {
      seconds.push_back(states_[size_t(u)].seconds - (u > 0 ? states_[size_t(u) - 1].seconds : 0));
      begins.push_back(u);
    }
    for (int devices = 2; devices <= std::min(request_.devices, units_.wiring.stages); ++devices)
      try_placement(begins, partition(seconds, devices, /*contiguous=*/false).placement);
  }

  void try_schedules(const ChunkDevices& shape, const std::vector<int>& begins) {
    if (units_.mergeable) return try_placement(begins, shape);
    Placement placement;  // every unit stays a stage
    std::vector<int> all;
    for (int u = 0, chunk = -1; u < units_.wiring.stages; ++u) {
      if (chunk + 1 < int(begins.size()) && begins[size_t(chunk) + 1] == u) ++chunk;
      placement.push_back(shape[size_t(chunk)]);
      all.push_back(u);
    }
    try_placement(all, placement);
  }

  void try_placement(const std::vector<int>& begins, const Placement& placement) {
    if (!tried_.insert({begins, placement}).second) return;
    StageModel stages = units_.mergeable ? merged(units_, begins) : StageModel{units_.costs, units_.wiring};
    stages.costs.link = request_.link;
    stages.wiring.synchronous = request_.rule->synchronous;
    stages.wiring.forward = request_.rule->forward;
    stages.wiring.backward = request_.rule->backward;
    std::vector<Plan> plans;  // schedules may coincide
    for (const PlanSchedule& s : schedules()) {
      if (s.error_crosses != request_.rule->error_crosses || s.synchronous != request_.rule->synchronous) continue;
      if (request_.schedule != "auto" && request_.schedule != s.name) continue;
      if (s.spread != nullptr) continue;  // plans here have one instance of each stage
      try {
        Plan plan = s.make_for != nullptr ? s.make_for(placement, int(units_.mbs), stages.costs)
                                          : s.make(placement, int(units_.mbs));
        if (std::find(plans.begin(), plans.end(), plan) != plans.end()) continue;
        plans.push_back(plan);
        found_.push_back(evaluated(stages, {.schedule = s.name,
                                            .mbs = units_.mbs,
                                            .begins = begins,
                                            .placement = placement,
                                            .plan = std::move(plan),
                                            .bytes = {}}));
      } catch (const ScheduleError&) {  // not for this shape or number of micro-batches
      }
    }
  }

  FoundPlan evaluated(const StageModel& stages, FoundPlan f) const {
    const Report report = validate(add_transfers(f.plan, stages.wiring), stages.wiring);
    const Timeline t = simulate(report, stages.costs);
    f.step_seconds = steady_step(t, report);
    f.samples_per_s = double(request_.samples) / f.step_seconds;
    double work = 0;
    for (const double b : t.busy) work += b;
    work *= double(report.mbs_per_step) / double(report.mbs);
    f.bubble = 1 - work / (f.step_seconds * double(t.busy.size()));
    f.bytes = t.bytes;
    return f;
  }

  /// The longest time, of any stage, from its last update but one to its last update.
  static double steady_step(const Timeline& t, const Report& report) {
    std::map<int, std::pair<double, double>> ends;  // by stage: the last two
    for (const Timeline::Span& s : t.spans)
      if (s.action.what == Do::kUpdate) {
        auto& [before, last] = ends[s.action.stage];
        before = last;
        last = s.end;
      }
    double longest = 0;
    for (const auto& entry : ends) longest = std::max(longest, entry.second.second - entry.second.first);
    return report.mbs > report.mbs_per_step ? longest : t.makespan;
  }

  const PlanRequest& request_;
  const UnitCosts& units_;
  std::vector<CutState> states_;
  std::set<std::pair<std::vector<int>, Placement>> tried_;
  std::vector<FoundPlan> found_;
};

}  // namespace

int64_t FoundPlan::peak() const {
  int64_t most = 0;
  for (const WorkerBytes& b : bytes) most = std::max(most, b.peak());
  return most;
}

StageModel merged(const UnitCosts& units, const std::vector<int>& begins) {
  StageModel m;
  m.wiring.stages = int(begins.size());
  m.wiring.edges = chain(m.wiring.stages);
  m.wiring.error_crosses = units.wiring.error_crosses;
  m.costs.link = units.costs.link;
  for (size_t s = 0; s < begins.size(); ++s) {
    const int end = s + 1 < begins.size() ? begins[s + 1] : units.wiring.stages;
    StageBytes sum;
    double forward = 0, input = 0, weight = 0, update = 0;
    for (int u = begins[s]; u < end; ++u) {
      forward += CostModel::of(units.costs.forward, u);
      input += CostModel::of(units.costs.backward_input, u);
      weight += CostModel::of(units.costs.backward_weight, u);
      update += CostModel::of(units.costs.update, u);
      const StageBytes b = CostModel::of(units.costs.bytes, u);
      sum.weights += b.weights;
      sum.gradients += b.gradients;
      sum.optimizer += b.optimizer;
      sum.tables += b.tables;
      sum.buffers += b.buffers;
      sum.activations += b.activations - (u > begins[s] ? b.shared : 0);
      sum.deferred += b.deferred;
      sum.shared = u == begins[s] ? b.shared : sum.shared;
      sum.working = std::max(sum.working, b.working);
    }
    sum.deferred = std::min(sum.deferred, sum.activations);
    m.costs.forward.push_back(forward);
    m.costs.backward_input.push_back(input);
    m.costs.backward_weight.push_back(weight);
    m.costs.update.push_back(update);
    m.costs.bytes.push_back(sum);
    if (s == 0) continue;
    EdgeBytes crossing{.from = int(s) - 1, .to = int(s)};
    for (const EdgeBytes& e : units.costs.edges)
      if (e.from < begins[s] && e.to >= begins[s]) {
        crossing.activations += e.activations;
        crossing.gradients += e.gradients;
      }
    m.costs.edges.push_back(crossing);
  }
  return m;
}

std::vector<FoundPlan> search_plans(const PlanRequest& request, const std::vector<UnitCosts>& units) {
  std::vector<FoundPlan> all;
  for (const UnitCosts& u : units) {
    std::vector<FoundPlan> some = PlanSearch(request, u).run();
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  std::stable_sort(all.begin(), all.end(), [&](const FoundPlan& a, const FoundPlan& b) {
    const bool a_fits = a.peak() <= request.memory, b_fits = b.peak() <= request.memory;
    if (a_fits != b_fits) return a_fits;
    if (a.samples_per_s != b.samples_per_s) return a.samples_per_s > b.samples_per_s;
    return a.bytes.size() != b.bytes.size() ? a.bytes.size() < b.bytes.size() : a.peak() < b.peak();
  });
  return all;
}

}  // namespace sluice
