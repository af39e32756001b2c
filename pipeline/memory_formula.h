// What schedules and rules keep on each worker, in closed form: published formulas, for pipelines whose stages are
// alike. What a given plan keeps is counted by simulate().
#pragma once

#include <optional>

#include "pipeline/rule.h"
#include "pipeline/schedules.h"

namespace sluice {

struct PipelineShape {
  int workers = 1;
  int stages_each = 1;
  int mbs = 1;  // micro-batches a step
};

/// The most activations of worker w, in micro-batches' worth of all its stages, where one that waits for its weight
/// half keeps half; an upper bound where a step has fewer micro-batches than the schedule could keep. Nothing for a
/// schedule that no formula is known of.
std::optional<double> activations_kept(const PlanSchedule& schedule, const PipelineShape& shape, int worker);

/// The copies of its weights that worker w keeps under asynchronous 1F1B: the newest, older and foretold ones. One of
/// rules whose weights do not change between forward and backward. Nothing for a rule that no formula is known of.
std::optional<int> weight_copies(const LearningRule& rule, const PipelineShape& shape, int worker);

}  // namespace sluice
