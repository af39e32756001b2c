// Parses or computes placements.
#include "apps/placing.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "apps/config_parts.h"
#include "apps/schedule_file.h"
#include "apps/unit_costs.h"
#include "pipeline/partition.h"

namespace sluice {
namespace {

Placement parse_placement(const std::string& text) {
  Placement placement;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int device = -1;
    const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, device);
    if (error != std::errc() || rest != text.data() + end || device < 0)
      throw ConfigError(str("placement='", text,
                            "': expected auto, round_robin, blocks, or a device index per stage such as 0,0,1,1"));
    placement.push_back(device);
    begin = end + 1;
  }
  return placement;
}

/// Stage i on device i mod n, or the stages in n runs of about equal length.
Placement spread(const RunConfig& c, int stages, int devices) {
  Placement p;
  for (int i = 0; i < stages; ++i) p.push_back(c.placement == "blocks" ? i * devices / stages : i % devices);
  return p;
}

/// Where the schedule's file has the stages.
Placement placement_in_file(const RunConfig& c, int stages, int devices) {
  const InstancePlan read = read_schedule(c.schedule);
  Placement p;
  try {
    p = placement_of(read.plan);
  } catch (const ScheduleError& e) {
    throw in_schedule(c.schedule, e);
  }
  if (read.stages() != stages)
    throw ConfigError(str("schedule=", c.schedule, " has ", read.stages(), " stages; ", c.model, " with rule ", c.rule,
                          " has ", stages, ", which --cuts may change"));
  if (count_workers(p) != devices)
    throw ConfigError(
        str("schedule=", c.schedule, " is for ", count_workers(p), " workers; devices=", c.devices, " has ", devices));
  p.resize(size_t(stages));
  return p;
}

Placement place_replicas(const RunConfig& c, const std::vector<int>& workers_of, int stages, int devices) {
  if (int(workers_of.size()) != stages)
    throw ConfigError(str("replicas=", c.replicas, " names ", workers_of.size(), " stages; ", c.model, " with rule ",
                          c.rule, " has ", stages));
  if (const int needed = std::accumulate(workers_of.begin(), workers_of.end(), 0); needed != devices)
    throw ConfigError(
        str("replicas=", c.replicas, " needs ", needed, " devices; devices=", c.devices, " has ", devices));
  Placement p = side_by_side(workers_of).placement;
  p.resize(size_t(stages));
  return p;
}

std::string schedule_name(const RunConfig& c, bool error_crosses, int devices) {
  if (c.schedule != "auto") return c.schedule;
  if (!error_crosses) return devices == 1 ? "associated" : "associated_streaming";
  if (c.weights != "synchronous") return "async_1f1b";
  if (devices == 1) return "one_device";
  return c.micro_batches == 1 ? "naive_split" : "one_f_one_b";
}

}  // namespace

Placement place(const RunConfig& c, const TrainingData& data, int stages, int devices, bool error_crosses) {
  if (const std::vector<int> workers_of = workers_of_stages(c); !workers_of.empty())
    return place_replicas(c, workers_of, stages, devices);
  const bool spreads = c.placement == "round_robin" || c.placement == "blocks";
  if (c.placement != "auto" && !spreads) {
    const Placement p = parse_placement(c.placement);
    if (int(p.size()) != stages)
      throw ConfigError(str("placement=", c.placement, " names ", p.size(), " stages; ", c.model, " with rule ", c.rule,
                            " has ", stages));
    for (int d = 0; d < devices; ++d)
      if (std::count(p.begin(), p.end(), d) == 0)
        throw ConfigError(str("placement=", c.placement, " leaves device ", d, " of ", c.devices, " without a stage"));
    if (*std::max_element(p.begin(), p.end()) >= devices)
      throw ConfigError(str("placement=", c.placement, " names device ", *std::max_element(p.begin(), p.end()),
                            "; devices=", c.devices, " has ", devices));
    return p;
  }
  if (is_schedule_file(c.schedule) && !spreads) return placement_in_file(c, stages, devices);
  if (devices == 1) return Placement(size_t(stages), 0);
  if (devices > stages)
    throw ConfigError(str("devices=", c.devices, ": ", devices, " devices for ", stages, " stages of ", c.model,
                          " with rule ", c.rule, "; name at most ", stages));
  if (spreads) return spread(c, stages, devices);
  return partition(measure_stage_costs(c, data), devices, error_crosses).placement;
}

Arrangement arrange(const RunConfig& c, const Placement& placement, bool error_crosses, int devices) {
  if (const std::vector<int> workers_of = workers_of_stages(c); !workers_of.empty()) {
    const InstancePlacement all = side_by_side(workers_of);
    return {all, with_recompute(c, one_f_one_b_side_by_side(workers_of, int(c.micro_batches)), all.stage_of), ""};
  }
  const std::string name = schedule_name(c, error_crosses, devices);
  const InstancePlan p = compute_plan(c, name, placement);
  return {{placement_of(p.plan), p.stage_of}, with_recompute(c, p.plan, p.stage_of), name};
}

std::vector<double> stage_costs(const Trace& trace, int stages) {
  const CostModel m = median_costs(trace, stages);
  std::vector<double> costs;
  for (size_t i = 0; i < m.forward.size(); ++i)
    costs.push_back(m.forward[i] + (m.backward_input[i] + m.backward_weight[i]) + m.update[i]);
  return costs;
}

std::vector<double> measure_stage_costs(const RunConfig& config, const TrainingData& data) {
  RunConfig one = config;
  const std::vector<Device> devices = parse_devices(config.devices);
  one.devices = devices[0].text();
  if (one.cores_per_device == 0) one.cores_per_device = share_cores(devices)[0].team;
  one.placement = "auto";
  one.schedule = "auto";
  one.weights = "synchronous";
  Training training(one, data);
  training.run({.steps = 2});  // first use makes plans and memory
  Trace trace;
  training.run({.steps = 5, .trace = &trace});
  return stage_costs(trace, int(training.placement().size()));
}

}  // namespace sluice
