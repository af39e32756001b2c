// Tries everything in the table of schedules.
#include "apps/plan_search.h"

#include <algorithm>
#include <map>
#include <set>

#include "apps/plan_shapes.h"
#include "pipeline/partition.h"
#include "pipeline/schedules.h"
#include "pipeline/transfers.h"

namespace sluice {
namespace {

class PlanSearch {
 public:
  PlanSearch(const PlanRequest& request, const UnitCosts& units) : request_(request), units_(units) {}

  std::vector<FoundPlan> run() {
    const int stages = units_.wiring.stages;
    const CutLimits limits{request_.link.bandwidth, double(request_.memory)};
    for (int devices = 1; devices <= std::min(request_.devices, stages); ++devices)
      for (const ChunkDevices& shape : shapes(devices, stages))
        for (const std::vector<int>& begins : chunk_begins(units_, int(shape.size()), limits))
          try_schedules(shape, begins);
    for (int devices = 2; devices <= request_.devices && takes_replicas(); ++devices)
      for (const ReplicatedStages& s : replicated_stages(units_, devices, request_.link.bandwidth)) try_replicas(s);
    if (!units_.wiring.error_crosses) try_any_placement();
    return std::move(found_);
  }

 private:
  /// Of 1F1B.
  bool takes_replicas() const {
    return units_.mergeable && request_.rule->error_crosses && request_.rule->synchronous &&
           (request_.schedule == "auto" || request_.schedule == "one_f_one_b");
  }

  /// Stages whose errors are their own may lie anywhere.
  void try_any_placement() {
    const std::vector<CutState> states = cuts_behind(units_);
    std::vector<double> seconds;
    std::vector<int> begins;
    for (int u = 0; u < units_.wiring.stages; ++u) {
      seconds.push_back(states[size_t(u)].seconds - (u > 0 ? states[size_t(u) - 1].seconds : 0));
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
    FoundPlan shape;
    shape.mbs = units_.mbs;
    shape.begins = begins;
    shape.placement = placement;
    const StageModel stages = model_of(shape, units_, request_);
    std::vector<InstancePlan> plans;  // schedules may coincide
    for (const PlanSchedule& s : schedules()) {
      if (s.error_crosses != request_.rule->error_crosses || s.synchronous != request_.rule->synchronous) continue;
      if (request_.schedule != "auto" && request_.schedule != s.name) continue;
      try {
        InstancePlan plan = made(s, placement, stages.costs);
        if (std::find(plans.begin(), plans.end(), plan) != plans.end()) continue;
        plans.push_back(plan);
        FoundPlan f = shape;
        f.schedule = s.name;
        f.plan = std::move(plan);
        found_.push_back(evaluated(std::move(f)));
      } catch (const ScheduleError&) {  // not for this shape or number of micro-batches
      }
    }
  }

  InstancePlan made(const PlanSchedule& s, const Placement& placement, const CostModel& costs) const {
    const int mbs = int(units_.mbs);
    if (s.make_for != nullptr) return {s.make_for(placement, mbs, costs), {}};
    const InstancePlacement all = s.placed(placement);
    return {s.make(all.placement, mbs), all.stage_of};
  }

  void try_replicas(const ReplicatedStages& stages) {
    const std::vector<int>& workers_of = stages.workers_of;
    if (units_.mbs < *std::max_element(workers_of.begin(), workers_of.end())) return;
    const InstancePlacement all = side_by_side(workers_of);
    FoundPlan f{.schedule = "one_f_one_b",
                .mbs = units_.mbs,
                .begins = stages.begins,
                .placement = all.placement,
                .workers_of = workers_of,
                .plan = {one_f_one_b_side_by_side(workers_of, int(units_.mbs)), all.stage_of},
                .bytes = {}};
    f.placement.resize(f.begins.size());
    found_.push_back(evaluated(std::move(f)));
  }

  FoundPlan evaluated(FoundPlan f) const {
    const StageModel stages = model_of(f, units_, request_);
    const Report report = validate(add_transfers(f.plan.plan, stages.wiring), stages.wiring);
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

  /// The longest time, of any instance of a stage, from its last update but one to its last update.
  static double steady_step(const Timeline& t, const Report& report) {
    std::map<int, std::pair<double, double>> ends;  // by instance: the last two
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

StageModel model_of(const FoundPlan& found, const UnitCosts& units, const PlanRequest& request) {
  StageModel m = units.mergeable ? merged(units, found.begins) : StageModel{units.costs, units.wiring};
  m.costs.link = request.link;
  m.wiring.synchronous = request.rule->synchronous;
  m.wiring.forward = request.rule->forward;
  m.wiring.backward = request.rule->backward;
  if (found.plan.stage_of.empty()) return m;
  m.wiring.instances = share_out(found.plan.stage_of, found.plan.plan);
  m.wiring.stages = int(found.plan.stage_of.size());
  m.wiring.edges = between(m.wiring.instances, m.wiring.edges);
  m.costs = between(m.wiring.instances, m.costs);
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
