// Reads plans, and tells where in a file an error is.
#include "apps/schedule_file.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>

#include "apps/plan_file.h"
#include "apps/run_dir.h"
#include "pipeline/recompute_stages.h"
#include "pipeline/schedules.h"

namespace sluice {
namespace {

InstancePlan parse_file(const std::string& path) {
  if (path.ends_with(".json")) return read_plan_text(read_text(path), path).plan;
  try {
    return parse_instances(read_text(path));
  } catch (const ScheduleError& e) {
    throw DataError(str(path, ": ", e.what()));
  }
}

std::string listed(const Placement& placement) {
  std::string text;
  for (const int w : placement) text += str(text.empty() ? "" : ",", w);
  return text;
}

}  // namespace

bool is_schedule_file(const std::string& schedule) { return schedule.ends_with(".txt") || schedule.ends_with(".json"); }

InstancePlan read_schedule(const std::string& path) {
  InstancePlan read = parse_file(path);
  if (read.plan.empty())
    throw DataError(str(path, ": no line, expected 'prologue | period * mbs | epilogue' a worker"));
  for (Program& p : read.plan)
    for (std::vector<Action>* part : {&p.prologue, &p.period, &p.epilogue})
      std::erase_if(*part, [](const Action& a) { return a.what == Do::kSend || a.what == Do::kRecv; });
  return read;
}

InstancePlan compute_plan(const RunConfig& c, const std::string& schedule, const Placement& placement) {
  if (!is_schedule_file(schedule)) {
    const PlanSchedule& s = find_schedule(schedule);
    const InstancePlacement all = s.placed(placement);
    return {s.make(all.placement, int(c.micro_batches)), all.stage_of};
  }
  InstancePlan read = read_schedule(schedule);
  Placement own;
  try {
    own = placement_of(read.plan);
    own.resize(size_t(read.stages()));
  } catch (const ScheduleError& e) {
    throw in_schedule(schedule, e);
  }
  if (own != placement)
    throw ConfigError(str("schedule=", schedule, " has its stages on workers ", listed(own), ", the run on ",
                          listed(placement), ", by the network's cuts and placement=", c.placement));
  if (read.plan[0].mbs_per_period != c.micro_batches)
    throw ConfigError(str("schedule=", schedule, ": a step of ", read.plan[0].mbs_per_period,
                          " micro-batches; micro_batches=", c.micro_batches));
  return read;
}

Plan with_recompute(const RunConfig& c, const Plan& plan, const std::vector<int>& stage_of) {
  const int instances = int(placement_of(plan).size());
  const auto stage = [&](int i) { return stage_of.empty() ? i : stage_of[size_t(i)]; };
  int count = 0;
  for (int i = 0; i < instances; ++i) count = std::max(count, stage(i) + 1);
  std::vector<bool> named(size_t(count), c.recompute == "all");
  for (const std::string& item : c.recompute == "all" ? std::vector<std::string>{} : list_items(c.recompute)) {
    int s = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), s);
    if (error != std::errc() || end != item.data() + item.size() || s < 0 || s >= count)
      throw ConfigError(str("recompute=", c.recompute, ": expected all, or numbers of stages from 0 to ", count - 1));
    named[size_t(s)] = true;
  }
  std::vector<int> recomputed;
  for (int i = 0; i < instances; ++i)
    if (named[size_t(stage(i))]) recomputed.push_back(i);
  return add_recompute(plan, recomputed);
}

void keep_schedule(RunConfig& c) {
  if (!is_schedule_file(c.schedule) || c.out.empty()) return;
  const RunDir dir(c.out);
  write_file(dir.schedule(), to_text(read_schedule(c.schedule)));
  c.schedule = dir.schedule();
}

ScheduleError in_schedule(const std::string& schedule, const ScheduleError& error) {
  const std::string what = error.what();
  int worker = -1;
  if (!is_schedule_file(schedule) || std::sscanf(what.c_str(), "worker %d", &worker) != 1 || worker < 0)
    return is_schedule_file(schedule) ? ScheduleError(str(schedule, ": ", what)) : error;
  if (schedule.ends_with(".json")) return ScheduleError(str(schedule, ", line ", worker + 1, " of 'plan': ", what));
  std::istringstream lines(read_text(schedule));
  int number = 0, left = worker + 1;  // lines that hold a program
  for (std::string line; left > 0 && std::getline(lines, line); ++number)
    if (line.find('|') != std::string::npos) --left;
  return ScheduleError(str(schedule, ", line ", number, ": ", what));
}

}  // namespace sluice
