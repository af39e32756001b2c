// The formulas, by schedule and rule.
#include "pipeline/memory_formula.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace sluice {
namespace {

/// Forwards that 1F1B is ahead of a worker's backwards.
int ahead(const PipelineShape& p, int w) { return p.workers - 1 - w; }
double at_most_all(double kept, const PipelineShape& p) { return std::min(kept, double(p.mbs)); }

double one_mb(const PipelineShape&, int) { return 1; }
double one_stage(const PipelineShape& p, int) { return 1.0 / p.stages_each; }
double all_mbs(const PipelineShape& p, int) { return p.mbs; }

struct ScheduleMemory {
  const char* name;
  double (*kept)(const PipelineShape& p, int w);
};
const std::vector<ScheduleMemory>& schedule_memory() {
  static const std::vector<ScheduleMemory> table{
      {"one_device", one_mb},
      {"naive_split", one_mb},
      {"gpipe", all_mbs},  // Huang et al. 2019
      {"one_f_one_b",
       [](const PipelineShape& p, int w) { return at_most_all(p.workers - w, p); }},  // Narayanan et al. 2021
      {"interleaved",
       [](const PipelineShape& p, int w) {
         const double v = p.stages_each;
         return at_most_all(v == 1 ? p.workers - w : (2.0 * ahead(p, w) + (v - 1) * p.workers + 1) / v, p);
       }},
      {"async_1f1b", [](const PipelineShape& p, int w) { return double(p.workers - w); }},  // it never drains
      // Qi et al. 2024, of worker i = w + 1: (p - i + 1) M_B + (i - 1) M_W and (2p - 2i + 1) M_B + (2i - 2) M_W.
      {"zb_h1", [](const PipelineShape& p, int w) { return at_most_all(p.workers - w + w / 2.0, p); }},
      {"zb_h2", [](const PipelineShape& p, int w) { return at_most_all(2.0 * (p.workers - w) - 1 + w, p); }},
      {"zb_v", [](const PipelineShape& p, int) { return at_most_all(p.workers, p); }},
      {"v_half", [](const PipelineShape& p, int) { return at_most_all((p.workers + 2) / 2, p); }},
      {"v_min", [](const PipelineShape& p, int) { return at_most_all((p.workers + 4) / 3, p); }},
      {"chimera",  // Li and Hoefler, SC 2021: of both directions together
       [](const PipelineShape& p, int w) { return p.workers / 2 + 1.0 + std::min(w, ahead(p, w)); }},
      {"dual_pipe", [](const PipelineShape& p, int) { return p.workers + 1.0; }},  // DeepSeek-V3, 2024
      {"associated", one_stage},
      {"associated_streaming", one_stage},
      {"associated_m", all_mbs},
      {"associated_p", one_stage}};
  return table;
}

int newest(const PipelineShape&, int) { return 1; }
/// Updates that can come while the micro-batches ahead of one are on their way.
int updates_between(const PipelineShape& p, int passes) { return (passes + p.mbs - 1) / p.mbs; }
int foretold_forward(const PipelineShape& p, int w) { return ahead(p, w) > 0 ? 2 : 1; }

/// Narayanan et al., SOSP 2019 and ICML 2021; Chen, Yang and Cheng 2018; Guan et al. 2019 and 2025.
struct RuleMemory {
  const char* name;
  int (*copies)(const PipelineShape& p, int w);
};
const std::vector<RuleMemory>& rule_memory() {
  static const std::vector<RuleMemory> table{
      {"backprop", newest},
      {"associated", newest},
      {"naive", newest},
      {"pipedream", [](const PipelineShape& p, int w) { return 1 + updates_between(p, ahead(p, w)); }},
      {"pipedream_vertical", [](const PipelineShape& p, int) { return 1 + updates_between(p, p.workers - 1); }},
      {"2bw", [](const PipelineShape&, int) { return 2; }},
      {"spectrain",
       [](const PipelineShape& p, int w) { return 1 + (w / 2 + ahead(p, w) > 0 ? 1 : 0) + (w / 2 > 0 ? 1 : 0); }},
      {"xpipe",
       [](const PipelineShape& p, int w) {
         const double m = p.mbs;
         return 1 + (std::llround((p.workers + m - w / 2.0 - 2) / m) > 0 ? 1 : 0) +
                (std::llround((m + w / 2 - 1) / m) > 0 ? 1 : 0);
       }},
      {"pipeoptim", foretold_forward},
      {"pipeoptim_paper", foretold_forward},
      {"pipeoptim_released", [](const PipelineShape&, int) { return 2; }},
      {"pipeoptim_decay", foretold_forward}};
  return table;
}

}  // namespace

std::optional<double> activations_kept(const PlanSchedule& schedule, const PipelineShape& shape, int worker) {
  for (const ScheduleMemory& m : schedule_memory())
    if (std::string(schedule.name) == m.name) return m.kept(shape, worker);
  return {};
}

std::optional<int> weight_copies(const LearningRule& rule, const PipelineShape& shape, int worker) {
  for (const RuleMemory& m : rule_memory())
    if (std::string(rule.name) == m.name) return m.copies(shape, worker);
  return {};
}

}  // namespace sluice
