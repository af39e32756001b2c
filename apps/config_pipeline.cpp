// The fields that say how a network is cut, placed and scheduled, and which weights its passes read.
#include <algorithm>
#include <charconv>
#include <utility>

#include "apps/config_parts.h"
#include "pipeline/rule.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

/// Rules of end-to-end networks that --weights names.
bool is_asynchronous(const std::string& name) {
  for (const LearningRule& r : rules())
    if (!r.synchronous && name == r.name) return true;
  return false;
}

std::string weights_help() {
  std::string help = "bp: which weights passes read. synchronous: those of the step";
  for (const LearningRule& r : rules())
    if (!r.synchronous) help += str("; ", r.name, ": ", r.summary);
  return help + ". --rule NAME is short for --rule bp --weights NAME";
}

std::string schedule_help() {
  std::string help = "auto";
  for (const PlanSchedule& s : schedules()) help += str(", ", s.name);
  return help +
         " (associated_m, associated_p: the original's threaded modes; chimera, dual_pipe: each stage on two devices, "
         "half of the micro-batches from either end), or a plan's file, .txt or .json; auto streams al and scpl";
}

void check_replicas(const RunConfig& c) {
  const std::vector<int> workers = workers_of_stages(c);
  if (workers.empty()) return;
  if (c.schedule != "auto" && c.schedule != "one_f_one_b")
    throw ConfigError(str("replicas=", c.replicas, " with schedule=", c.schedule, ": expected auto or one_f_one_b"));
  if (c.placement != "auto")
    throw ConfigError(str("replicas=", c.replicas, " with placement=", c.placement,
                          ": replicas place the stages, expected placement=auto"));
  if (const int most = *std::max_element(workers.begin(), workers.end()); c.micro_batches < most)
    throw ConfigError(str("replicas=", c.replicas, ": micro_batches=", c.micro_batches,
                          ", expected one for each device of a stage, ", most, " or more"));
}

/// Stages with several instances have one set of weights, which all passes of a step read.
void expect_one_instance(const RunConfig& c) {
  if (!c.replicas.empty())
    throw ConfigError(str("weights=", c.weights, " with replicas=", c.replicas, ": expected synchronous weights"));
  for (const PlanSchedule& s : schedules())
    if (s.spread != nullptr && c.schedule == s.name)
      throw ConfigError(str("weights=", c.weights, " with schedule=", c.schedule,
                            ", which gives stages replicas: expected synchronous weights"));
}

}  // namespace

std::vector<int> workers_of_stages(const RunConfig& c) {
  std::vector<int> workers;
  for (const std::string& item : list_items(c.replicas)) {
    int n = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), n);
    if (error != std::errc() || end != item.data() + item.size() || n < 1)
      throw ConfigError(str("replicas='", c.replicas, "': expected a number of devices for each stage, such as 2,1,1"));
    workers.push_back(n);
  }
  return workers;
}

std::vector<ConfigField> pipeline_fields() {
  using C = RunConfig;
  static const std::string schedule = schedule_help(), weights = weights_help();  // a field keeps a pointer
  return {
      {"schedule", schedule.c_str(), &C::schedule, false},
      {"weights", weights.c_str(), &C::weights, true},
      {"cuts",
       "bp, images, gnmt8, gnmt16, residual_lstm: the units at which stages begin behind the first, such as 3,7,11; "
       "all: every unit is a stage; "
       "balanced:4: four stages of about equal operations; empty: the network's own",
       &C::cuts, false},
      {"recompute",
       "bp: stages that keep their inputs alone and run again before backward: all, or their numbers such as 0,2; "
       "empty: "
       "none",
       &C::recompute, false},
      {"recompute_weights",
       "which weights they then read. forward: those of their forward, for the same result; backward: those of their "
       "backward, so that the whole gradient is of one version and none is kept for it",
       &C::recompute_weights, true},
      {"placement", "auto (by measured cost), round_robin, blocks, or the device index of every stage, such as 0,0,1,1",
       &C::placement, false},
      {"replicas",
       "how many devices each stage has, such as 2,1,1, in the order of devices: they take its micro-batches in turn "
       "and "
       "add their gradients; empty: one each. Schedules auto and one_f_one_b",
       &C::replicas, true},
      {"bp_gpu_list", "bp: a device for each stage, such as cuda:0,cuda:0,cuda:1; goes before devices and placement",
       &C::bp_gpu_list, false},
      {"al_gpu_list", "al, scpl: the same", &C::al_gpu_list, false},
  };
}

RunConfig with_weights_rule(RunConfig c) {
  if (!is_asynchronous(c.rule)) return c;
  if (c.weights != "synchronous" && c.weights != c.rule)
    throw ConfigError(str("rule=", c.rule, " with weights=", c.weights, ": expected one of them"));
  c.weights = std::exchange(c.rule, "bp");
  return c;
}

void check_pipeline(const RunConfig& c) {
  if (c.recompute_weights != "forward" && c.recompute_weights != "backward")
    throw ConfigError(str("recompute_weights='", c.recompute_weights, "': expected forward or backward"));
  check_replicas(c);
  if (c.weights == "synchronous") return;
  if (!is_asynchronous(c.weights)) {
    std::string names = "synchronous";
    for (const LearningRule& r : rules())
      if (!r.synchronous) names += str(", ", r.name);
    throw ConfigError(str("weights='", c.weights, "': expected one of ", names));
  }
  if (c.rule != "bp")
    throw ConfigError(str("weights=", c.weights, ": rule=", c.rule, " has no error that crosses stages, only bp has"));
  if (c.clip_grad > 0)
    throw ConfigError(str("weights=", c.weights, " with clip_grad=", c.clip_grad,
                          ": the stages of an asynchronous step have no common norm"));
  expect_one_instance(c);
}

}  // namespace sluice
