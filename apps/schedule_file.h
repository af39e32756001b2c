// Schedules from files.
#pragma once

#include <string>

#include "apps/config.h"
#include "engine/error.h"
#include "pipeline/instances.h"

namespace sluice {

/// Whether a configured schedule is a file rather than a name: a plan as text, .txt, or of `sluice plan`, .json.
bool is_schedule_file(const std::string& schedule);

/// Reads a plan from its text form (pipeline/action.h, instances.h), one line a worker, or from a plan file. Sends and
/// receives may be left out; where they are named they are dropped, since they follow from the other actions. Throws
/// DataError with the path, the line and the word that is no action.
InstancePlan read_schedule(const std::string& path);

/// The plan of the generator or the file for stages whose first instances are placed so. Throws ConfigError where a
/// file's plan is for others or for another number of micro-batches.
InstancePlan compute_plan(const RunConfig& config, const std::string& schedule, const Placement& placement);

/// The plan with the recomputations that are configured. `stage_of`: the stage of each instance, empty where these are
/// the plan's numbers. Throws ConfigError for a stage that is not there.
Plan with_recompute(const RunConfig& config, const Plan& plan, const std::vector<int>& stage_of);

/// Copies the schedule's file, if it is one, into the run directory, if there is one, and names the copy: so the run
/// can be resumed and evaluated when the file is gone.
void keep_schedule(RunConfig& config);

/// The error of a plan, with the file and the line of the worker that it names where the plan is from a file.
ScheduleError in_schedule(const std::string& schedule, const ScheduleError& error);

}  // namespace sluice
