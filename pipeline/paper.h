// Inside validate(): the unrolled programs, what each action needs, and which channel slots are free.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "pipeline/validate.h"

namespace sluice::paper {

using Key = std::tuple<int, int64_t, int>;  // stage, micro-batch, view
using ChannelKey = std::pair<int, int>;     // from stage, to stage

/// An action where it stands.
struct Spot {
  int worker = 0;
  int64_t position = 0;
  Action action;
};
[[noreturn]] void fail(const Spot& at, const std::string& why);

/// Every action of a run, by worker.
struct Run {
  int64_t mbs = 0;
  int mbs_per_step = 0;
  Placement placement;
  std::vector<std::vector<Action>> programs;
  bool crosses(int a, int b) const { return placement[size_t(a)] != placement[size_t(b)]; }
  bool crosses(const Edge& e) const { return crosses(e.from, e.to); }
};

/// Unrolls the plan. Throws ScheduleError when workers disagree on the micro-batches of a step.
Run unroll(const Plan& plan, const Wiring& wiring, int64_t mbs);
/// Throws unless every expected action is there once, and none that is not expected.
void expect_complete(const Run& run, const Wiring& wiring);
/// Which stages have recomputations.
std::vector<bool> recomputed_stages(const Run& run);
/// Throws unless each channel's receives are in the order of its sends.
void expect_matching_transfers(const Run& run);
/// The slots of every channel: wiring.depth, or one more than its receiver holds at once; one for gradients of weights.
std::vector<ChannelUse> size_channels(const Run& run, const Wiring& wiring);

/// Whether parcels of the action's micro-batch on the channel are done with when it has run.
bool lets_go(const Action& a, const ChannelKey& channel, const Wiring& wiring);

/// Whether the stage's backward of a micro-batch ends with this action.
inline bool ends_backward(Do what) { return what == Do::kBackward || what == Do::kBackwardWeight; }
inline bool is_compute(Do what) { return what == Do::kForward || what == Do::kBackwardInput || ends_backward(what); }
inline bool starts_backward(Do what) { return what == Do::kBackward || what == Do::kBackwardInput; }

}  // namespace sluice::paper
