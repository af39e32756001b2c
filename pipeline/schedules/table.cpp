// The table of schedules, and what the generators share.
#include <algorithm>

#include "engine/error.h"
#include "pipeline/schedules.h"

namespace sluice {

const std::vector<PlanSchedule>& schedules() {
  static const std::vector<PlanSchedule> table = {
      {"one_device", one_device, true},
      {"naive_split", naive_split, true},
      {"gpipe", gpipe, true},
      {"one_f_one_b", one_f_one_b, true},
      {"interleaved", interleaved, true},
      {"async_1f1b", async_1f1b, true, nullptr, false},
      {"zb_h1", zb_h1, true, zb_h1_for},
      {"zb_h2", zb_h2, true, zb_h2_for},
      {"zb_v", zb_v, true, zb_v_for},
      {"v_half", v_half, true, v_half_for},
      {"v_min", v_min, true, v_min_for},
      {"chimera", chimera, true, nullptr, true, both_ways},
      {"dual_pipe", dual_pipe, true, nullptr, true, both_ways},
      {"associated", associated, false},
      {"associated_streaming", associated_streaming, false},
      {"associated_m", associated_m, false},
      {"associated_p", associated_p, false},
  };
  return table;
}

const PlanSchedule& find_schedule(const std::string& name) {
  std::string known;
  for (const PlanSchedule& s : schedules()) {
    if (s.name == name) return s;
    known += (known.empty() ? "" : ", ") + std::string(s.name);
  }
  throw ConfigError(str("schedule '", name, "' does not exist, expected one of: ", known));
}

std::vector<std::vector<int>> contiguous_stages(const char* schedule, const Placement& placement) {
  const int workers = count_workers(placement);
  std::vector<std::vector<int>> stages(static_cast<size_t>(workers));
  for (size_t s = 0; s < placement.size(); ++s) {
    if (s > 0 && placement[s] < placement[s - 1])
      throw ScheduleError(str(schedule, ": stage ", s, " is on worker ", placement[s], " after worker ",
                              placement[s - 1], ", expected each worker's stages to be contiguous and in order"));
    stages[size_t(placement[s])].push_back(int(s));
  }
  return stages;
}

InstancePlacement PlanSchedule::placed(const Placement& of_stages) const {
  return spread != nullptr ? spread(of_stages) : InstancePlacement{of_stages, {}};
}

void add_forward(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb) {
  for (int s : stages) to.push_back(act(Do::kForward, s, mb));
}

void add_backward(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb) {
  for (size_t i = stages.size(); i-- > 0;) to.push_back(act(Do::kBackward, stages[i], mb));
}

void add_update(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb) {
  for (int s : stages) to.push_back(act(Do::kUpdate, s, mb));
}

void add_sum(std::vector<Action>& to, const std::vector<int>& instances, int64_t mb) {
  for (int i : instances) to.push_back(act(Do::kReduceGrad, i, mb));
}

void add_meeting(std::vector<Action>& to, int stage, int number) {
  for (const Do what : {Do::kArrive, Do::kAwait}) {
    Action a = act(what, stage);
    a.view = int8_t(number);
    to.push_back(a);
  }
}

void expect_mbs(const char* schedule, int mbs) {
  if (mbs < 1) throw ScheduleError(str(schedule, ": ", mbs, " micro-batches a step, expected at least 1"));
}

}  // namespace sluice
