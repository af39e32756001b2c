// A schedule as data: what each worker does, in order, over micro-batch numbers that count from the start of a run.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace sluice {

/// What an action does. Only what the executor interprets is listed.
enum class Do : char {
  kForward = 'F',
  kRecompute = 'R',       // forward again, of a stage that kept its inputs alone; before its backward
  kBackwardInput = 'B',   // the input gradients; kBackwardWeight of the same micro-batch must follow
  kBackwardWeight = 'W',  // the weight gradients
  kBackward = 'D',        // both, node by node
  kReduceGrad = 'G',      // of an instance of a replicated stage: its gradients become the sum of all instances'
  kUpdate = 'U',          // ends a step of its stage; mb is the first micro-batch of that step, of kReduceGrad too
  kSend = 's',
  kRecv = 'r',
  // A meeting: behind its kAwait nothing runs on any device before what all workers queued before their kArrive.
  kArrive = 'a',
  kAwait = 'w',
};

/// One thing that a worker does. A worker arrives and awaits in the name of any of its stages; `view` tells the
/// meetings of a step apart. `peer`, of sends and receives, is the other stage: a parcel to a later stage holds
/// activations, one to an earlier stage holds their gradients, one to another instance of its own stage holds those of
/// the weights. Where stages have several instances, these are what `stage` and `peer` number.
struct Action {
  Do what = Do::kForward;
  int16_t stage = 0;
  int32_t mb = 0;
  int8_t view = 0;
  int8_t peer = -1;
  auto operator<=>(const Action&) const = default;
};

/// An action from plain numbers. Throws ScheduleError when one does not fit.
Action act(Do what, int stage, int64_t mb = 0, int peer = -1);
constexpr bool is_meeting(Do what) { return what == Do::kArrive || what == Do::kAwait; }

/// One worker's actions: the prologue once, the period as often as the run asks, the epilogue once. Repetition p of the
/// period adds p * mbs_per_period to every mb; the epilogue is written as if the period had been run 0 times. A step
/// has mbs_per_period micro-batches.
struct Program {
  std::vector<Action> prologue, period, epilogue;
  int mbs_per_period = 1;
  bool operator==(const Program&) const = default;
};

/// One program per worker.
using Plan = std::vector<Program>;

/// The worker of every stage.
using Placement = std::vector<int>;
/// Stage w on worker w.
Placement one_each(int stages);
/// All stages on worker 0.
Placement all_on_one(int stages);
/// One more than the largest worker. Throws ScheduleError when a worker below it has no stage, or there is no stage.
int count_workers(const Placement& placement);
/// The placement that a plan implies. Throws ScheduleError when a stage has actions on two workers or none at all.
Placement placement_of(const Plan& plan);

/// The same action, `by` micro-batches later.
Action shifted(Action a, int64_t by);
/// How often the period is run so that every stage of the worker sees `mbs` micro-batches; 0 for fewer than prologue
/// and epilogue have. Throws ScheduleError when `mbs` cuts a step.
int64_t repetitions(const Program& program, int64_t mbs);
/// Micro-batches that each stage of the worker sees in prologue and epilogue together.
int64_t mbs_outside_period(const Program& program);
/// All actions of a run over `mbs` micro-batches. One shorter than prologue and epilogue leaves out what is theirs of
/// later micro-batches: actions depend on none but those of their own or an earlier one.
std::vector<Action> unroll(const Program& program, int64_t mbs);

/// "F0.3", "D1.2", "s0.3>1" (to stage 1), "r1.3<0" (from stage 0), "G4.0", "U0"; view 1: "F0.3v1".
std::string to_text(const Action& a);
/// Actions joined by blanks.
std::string to_text(const std::vector<Action>& actions);
/// One line per worker, "prologue | period * mbs_per_period | epilogue".
std::string to_text(const Plan& plan);
/// The inverse of to_text(Plan). Throws ScheduleError with line and word.
Plan parse(const std::string& text);

}  // namespace sluice
