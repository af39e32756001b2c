// Every schedule by name. A generator emits compute actions only; add_transfers() puts in what moves between workers.
#pragma once

#include <string>
#include <vector>

#include "pipeline/action.h"
#include "pipeline/costs.h"

namespace sluice {

/// One worker: each micro-batch forward through all stages and back before the next one starts.
Plan one_device(const Placement& placement, int mbs);
/// Each micro-batch goes through all workers and back before the next one starts: one worker is busy at a time.
Plan naive_split(const Placement& placement, int mbs);
/// All forwards, then all backwards (Huang et al. 2019). Gradients are added in the order 0 .. mbs - 1.
Plan gpipe(const Placement& placement, int mbs);
/// One forward, one backward, with a flush at each step (Narayanan et al. 2021, "1F1B"): worker w of n keeps at most
/// n - w micro-batches in flight. Gradients are added in the order 0 .. mbs - 1.
Plan one_f_one_b(const Placement& placement, int mbs);
/// 1F1B where each of p workers has v stages, stage s on worker s mod p (Narayanan et al. 2021, "interleaved"): fills
/// and drains take a v-th of the time, for more activations, (2 (p - w - 1) + (v - 1) p + 1) / v micro-batches' worth.
/// mbs is a multiple of p. Gradients are added in the order 0 .. mbs - 1.
Plan interleaved(const Placement& placement, int mbs);
/// Backward in halves, weight gradients where 1F1B would wait (Qi et al. 2024, "ZB-H1"): a third of 1F1B's bubble where
/// forward and both halves take as long, and never more activations than 1F1B, where a half backward keeps half.
/// Gradients are added in the order 0 .. mbs - 1.
Plan zb_h1(const Placement& placement, int mbs);
/// The same with nearly twice the activations ("ZB-H2"): no bubble between a worker's first and last action of a step.
Plan zb_h2(const Placement& placement, int mbs);
/// 1F1B without a flush (Narayanan et al., SOSP 2019): filled once a run; each stage updates behind the last backward
/// of every step. Worker w of n keeps n - w micro-batches in flight, and min(n - 1 - w, those before it in the run) of
/// them are updates apart where a step is one micro-batch. For asynchronous rules.
Plan async_1f1b(const Placement& placement, int mbs);
/// Zero bubble on a V: each of p workers has two chunks of stages, on the way from worker 0 to p - 1 and on the way
/// back (Qi et al. 2024, "ZB-V"). No bubble between a worker's first and last action where forward and both halves take
/// as long, for at most p micro-batches' worth of activations on every worker. Gradients are added in the order 0 ..
/// mbs-1.
Plan zb_v(const Placement& placement, int mbs);
/// The same for half of the activations and half of 1F1B's bubble (Qi et al. 2024, "V-Half": (p + 2) / 2), and for a
/// third and two thirds ("V-Min": (p + 4) / 3; both rounded down).
Plan v_half(const Placement& placement, int mbs);
Plan v_min(const Placement& placement, int mbs);
/// All of these for stages that take what `costs` says, with the same activations.
Plan zb_h1_for(const Placement& placement, int mbs, const CostModel& costs);
Plan zb_h2_for(const Placement& placement, int mbs, const CostModel& costs);
Plan zb_v_for(const Placement& placement, int mbs, const CostModel& costs);
Plan v_half_for(const Placement& placement, int mbs, const CostModel& costs);
Plan v_min_for(const Placement& placement, int mbs, const CostModel& costs);
/// As zb_h1_for(), where worker w may keep halves[w] halves of a micro-batch's activations, at least 2.
Plan zero_bubble(const Placement& placement, int mbs, const CostModel& costs, const std::vector<int64_t>& halves);
/// Associated learning on one worker, stage by stage: forward, backward, update.
Plan associated(const Placement& placement, int mbs);
/// Associated learning streamed: stage s works on step k - lag(s), where lag grows by one wherever the worker changes,
/// so that a step enters stage 0 while later stages still work on earlier ones. Exact, since nothing goes back.
Plan associated_streaming(const Placement& placement, int mbs);
/// Associated learning, mode M of the original: all forwards of a step, then, once every worker has ended them, all
/// backwards and updates at once; the next step starts when all have ended.
Plan associated_m(const Placement& placement, int mbs);
/// Associated learning, mode P of the original ("AL-FM"): a stage goes back and updates while the next ones go
/// forward; the next step starts when all have ended.
Plan associated_p(const Placement& placement, int mbs);

/// Where the instances of stages lie that several workers compute, and the stage of each: what make_pipeline() and
/// share_out() take. Each instance adds its gradients in ascending order, then those of all are added in the order of
/// instances.
struct InstancePlacement {
  Placement placement;
  std::vector<int> stage_of;
};
/// Each stage once more, as far from the last worker as it is from worker 0.
InstancePlacement both_ways(const Placement& of_stages);
/// Bidirectional pipelines (Li and Hoefler, SC 2021): 1F1B in both directions at once, the even micro-batches of a step
/// from worker 0 on. `placement` is that of both_ways() over an even number of workers p, mbs a multiple of p. For
/// mbs = p the bubble is p - 2 backwards, half of 1F1B's; worker w keeps p / 2 + 1 to p activations of micro-batches.
Plan chimera(const Placement& placement, int mbs);
/// Bidirectional pipelines with a forward and a backward at a time (DeepSeek-V3, 2024) and some backwards in halves.
/// `placement` as for chimera(); mbs even, 2 p or more. The bubble is (p / 2 - 1) (forward and backward together +
/// backward - 3 weight halves); p + 1 activations on every worker. Here the two at a time run one after another.
Plan dual_pipe(const Placement& placement, int mbs);
/// Stage s on the next workers_of[s] workers.
InstancePlacement side_by_side(const std::vector<int>& workers_of);
/// 1F1B with a flush where the workers of a stage take micro-batches in turn (Narayanan et al., SOSP 2019).
Plan one_f_one_b_side_by_side(const std::vector<int>& workers_of, int mbs);

/// A schedule: `mbs` micro-batches a step, stages placed as given. Generators throw ScheduleError for placements that
/// they cannot serve.
struct PlanSchedule {
  const char* name;
  Plan (*make)(const Placement& placement, int mbs);
  bool error_crosses;  // made for rules whose error crosses stages
  /// The same where the order of actions goes by their costs; null where it does not.
  Plan (*make_for)(const Placement& placement, int mbs, const CostModel& costs) = nullptr;
  bool synchronous = true;  // else for rules that take updates between forward and backward of a micro-batch
  /// Where the instances of placed stages lie, whose placement make() wants then; null where a stage has one.
  InstancePlacement (*spread)(const Placement& of_stages) = nullptr;
  /// By spread, or the stages as they are.
  InstancePlacement placed(const Placement& of_stages) const;
};
const std::vector<PlanSchedule>& schedules();
/// Throws ConfigError with the names that exist.
const PlanSchedule& find_schedule(const std::string& name);

// ---- what the generators share ----

/// The stages of each worker, ascending. Throws ScheduleError when a worker's stages are not contiguous or descend.
std::vector<std::vector<int>> contiguous_stages(const char* schedule, const Placement& placement);
/// Appends the stages' forwards of one micro-batch in order, their backwards from the last, their updates in order.
void add_forward(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb);
void add_backward(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb);
void add_update(std::vector<Action>& to, const std::vector<int>& stages, int64_t mb);
/// Appends the instances' part in the sum of their stages' gradients, in order.
void add_sum(std::vector<Action>& to, const std::vector<int>& instances, int64_t mb);
/// Appends meeting `number` of a step: nobody goes on before all have come.
void add_meeting(std::vector<Action>& to, int stage, int number);
/// Throws ScheduleError unless mbs >= 1.
void expect_mbs(const char* schedule, int mbs);

}  // namespace sluice
