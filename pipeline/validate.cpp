// Walks the unrolled programs in any order that their needs allow, and reports the first action that can never run.
#include "pipeline/validate.h"

#include <algorithm>
#include <set>

#include "pipeline/paper.h"

namespace sluice {
namespace {

using paper::ChannelKey;
using paper::Key;
using paper::Run;

/// A channel in the walk: parcel k uses slot k mod slots.
struct Lane {
  int slots = 0;
  std::vector<int64_t> sent, received;  // places in the order
  std::vector<int64_t> mbs;             // micro-batch of each parcel
  std::map<int64_t, int64_t> freed;     // parcel -> place of the action that let go of it
};

/// A micro-batch in a stage.
struct Flight {
  int64_t forward = -1, again = -1, backward_input = -1, done = -1;  // places in the order
  int64_t updates = 0;                                               // of the stage before its forward
  WeightRead read{};                                                 // of its forward
};

class Walk {
 public:
  Walk(Run run, const Wiring& wiring) : run_(std::move(run)), wiring_(wiring) {
    report_.mbs = run_.mbs;
    report_.mbs_per_step = run_.mbs_per_step;
    report_.placement = run_.placement;
    report_.channels = paper::size_channels(run_, wiring);
    for (const ChannelUse& c : report_.channels) lanes_[{c.from, c.to}].slots = c.slots;
    const size_t stages = run_.placement.size();
    report_.live_peak.assign(stages, 0);
    report_.versions_held.assign(stages, 1);
    report_.forecasts_late.assign(stages, false);
    report_.forecasts_held.resize(stages);
    report_.recomputed = paper::recomputed_stages(run_);
    forwards_.assign(stages, 0);
    updates_.assign(stages, 0);
    next_forward_.assign(stages, 0);
    next_gradient_.assign(stages, 0);
    in_step_.assign(stages, 0);
    summed_.assign(stages, false);
    live_.resize(stages);
    met_.resize(run_.programs.size());
  }

  Report finish() {
    std::vector<size_t> at(run_.programs.size(), 0);
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t w = 0; w < at.size(); ++w)
        for (; at[w] < run_.programs[w].size(); ++at[w], moved = true) {
          const Placed p{int(w), int64_t(at[w]), run_.programs[w][at[w]], {}, {}};
          if (!blocked(p).empty()) break;
          run(p);
        }
      if (!moved) moved = widen(at);
    }
    for (size_t w = 0; w < at.size(); ++w)
      if (at[w] < run_.programs[w].size()) stuck(at);
    for (ChannelUse& c : report_.channels) c.slots = lanes_.at({c.from, c.to}).slots;
    return std::move(report_);
  }

 private:
  static Key key(const Action& a, int stage) { return {stage, a.mb, a.view}; }
  [[noreturn]] static void fail(const Placed& p, const std::string& why) {
    paper::fail({p.worker, p.position, p.action}, why);
  }
  /// The worker whose wait starts the others': one that waits for its own later action, else the first.
  [[noreturn]] void stuck(const std::vector<size_t>& at) const {
    std::string all;
    Placed first;
    bool found = false;
    for (size_t w = 0; w < at.size(); ++w) {
      if (at[w] >= run_.programs[w].size()) continue;
      const Placed p{int(w), int64_t(at[w]), run_.programs[w][at[w]], {}, {}};
      const std::string why = blocked(p);
      const bool own = p.action.what != Do::kRecv && (p.action.what != Do::kSend || !made(p.action));
      if (!found || own) first = p;
      found = true;
      all += str("; worker ", w, " stands at position ", at[w], ", ", to_text(p.action), ": ", why);
    }
    fail(first, str("can never run: ", blocked(first), all));
  }

  /// One slot more for each channel that a worker finds full, where all wait: some sender is ahead of its receiver by
  /// more than that holds at once. Whether there was one.
  bool widen(const std::vector<size_t>& at) {
    bool any = false;
    for (size_t w = 0; w < at.size() && wiring_.depth == 0; ++w) {
      if (at[w] >= run_.programs[w].size()) continue;
      const Action& a = run_.programs[w][at[w]];
      if (a.what != Do::kSend || !made(a)) continue;
      ++lanes_.at({a.stage, a.peer}).slots;
      any = true;
    }
    return any;
  }
  bool ran(Do what, int stage, const Action& a) const {
    const auto it = flights_.find(key(a, stage));
    if (it == flights_.end()) return false;
    const Flight& f = it->second;
    return (what == Do::kForward ? f.forward : what == Do::kBackwardInput ? f.backward_input : f.done) >= 0;
  }
  bool received(const Action& a, int from) const { return arrivals_.count({from, a.stage, a.mb}) != 0; }

  /// Why the action cannot run now; empty when it can.
  std::string blocked(const Placed& p) const {
    const Action& a = p.action;
    switch (a.what) {
      case Do::kForward:
        return blocked_forward(a);
      case Do::kRecompute:
        return ran(Do::kForward, a.stage, a) ? "" : "its forward has not run";
      case Do::kBackward:
      case Do::kBackwardInput:
        return blocked_backward(a);
      case Do::kBackwardWeight:
        return ran(Do::kBackwardInput, a.stage, a) ? "" : "its input half has not run";
      case Do::kReduceGrad:
        return blocked_sum(a);
      case Do::kUpdate:
        if (const std::string why = short_of_gradients(a.stage); !why.empty()) return why;
        return wiring_.instances.replicas(a.stage).empty() || summed_[size_t(a.stage)] ? "" : "its sum has not run";
      case Do::kSend:
        return blocked_send(a);
      case Do::kRecv:
        return blocked_recv(a);
      case Do::kArrive:
        return "";
      case Do::kAwait:
        return blocked_await(p);
    }
    return "unknown action";
  }
  std::string blocked_forward(const Action& a) const {
    for (const Edge& e : wiring_.edges) {
      if (e.to != a.stage || !wiring_.carries(e, a.mb)) continue;
      if (run_.crosses(e) ? !received(a, e.from) : !ran(Do::kForward, e.from, a))
        return str("no input from stage ", e.from);
    }
    return "";
  }
  std::string blocked_backward(const Action& a) const {
    if (!ran(Do::kForward, a.stage, a)) return "its forward has not run";
    if (report_.recomputed[size_t(a.stage)] && flights_.at(key(a, a.stage)).again < 0)
      return "it is not recomputed yet";
    for (const Edge& e : wiring_.edges) {
      if (e.from != a.stage || !wiring_.gradient_crosses(e) || !wiring_.carries(e, a.mb)) continue;
      if (run_.crosses(e) ? !received(a, e.to) : !ran(Do::kBackwardInput, e.to, a))
        return str("no gradient from stage ", e.to);
    }
    return "";
  }
  /// The first instance waits for the gradients of the others, and they for its sum.
  std::string blocked_sum(const Action& a) const {
    if (const std::string why = short_of_gradients(a.stage); !why.empty()) return why;
    const Instances& instances = wiring_.instances;
    for (const int other : instances.replicas(a.stage)) {
      if (!instances.is_first(a.stage) && !instances.is_first(other)) continue;
      const bool there = run_.crosses(a.stage, other) ? received(a, other) : has_summands(other);
      if (!there) return str("no gradients from instance ", other);
    }
    return "";
  }
  /// Whether the instance's gradients are what the others of its stage want: the sum, or its part of it.
  bool has_summands(int stage) const {
    return wiring_.instances.is_first(stage) ? bool(summed_[size_t(stage)]) : short_of_gradients(stage).empty();
  }
  std::string short_of_gradients(int stage) const {
    const int64_t all = wiring_.instances.count(stage, run_.mbs_per_step), have = in_step_[size_t(stage)];
    return have == all ? "" : str("its step has ", have, " gradients of ", all);
  }
  /// Whether what the action sends is there.
  bool made(const Action& a) const {
    const Instances& instances = wiring_.instances;
    if (instances.are_replicas(a.stage, a.peer)) return has_summands(a.stage);
    const bool activations = instances.stage(a.peer) > instances.stage(a.stage);
    return ran(activations ? Do::kForward : Do::kBackwardInput, a.stage, a);
  }
  std::string blocked_send(const Action& a) const {
    if (!made(a)) return "its parcel is not made yet";
    const Lane& lane = lanes_.at({a.stage, a.peer});
    const int64_t before = int64_t(lane.sent.size()) - lane.slots;
    if (before >= 0 && lane.freed.count(before) == 0)
      return str("all ", lane.slots, " slots of the channel ", a.stage, ">", int(a.peer), " are taken");
    return "";
  }
  std::string blocked_recv(const Action& a) const {
    const Lane& lane = lanes_.at({a.peer, a.stage});
    return lane.sent.size() > lane.received.size() ? "" : str("stage ", int(a.peer), " has not sent it");
  }

  /// A worker awaits the meeting that it arrived at last.
  std::string blocked_await(const Placed& p) const {
    const size_t meeting = met_[size_t(p.worker)].size();
    if (meeting == 0) return "it has not arrived at a meeting";
    for (size_t w = 0; w < met_.size(); ++w)
      if (met_[w].size() < meeting) return str("worker ", w, " has not arrived at meeting ", meeting - 1);
    return "";
  }

  void run(Placed p) {
    const int64_t place = int64_t(report_.order.size());
    const Action& a = p.action;
    if (a.what == Do::kForward) run_forward(p, place);
    if (a.what == Do::kRecompute) run_again(p, place);
    if (paper::starts_backward(a.what)) run_backward(p, place);
    if (paper::ends_backward(a.what)) end_backward(p, place);
    if (a.what == Do::kReduceGrad) {
      summed_[size_t(a.stage)] = true;
      free_slots(a, place);
    }
    if (a.what == Do::kUpdate) {
      ++updates_[size_t(a.stage)];
      in_step_[size_t(a.stage)] = 0;
      summed_[size_t(a.stage)] = false;
      foretell_next(p);
    }
    if (a.what == Do::kSend) {
      Lane& lane = lanes_.at({a.stage, a.peer});
      const int64_t before = int64_t(lane.sent.size()) - lane.slots;
      if (before >= 0) p.after.push_back(lane.freed.at(before));
      lane.sent.push_back(place);
      lane.mbs.push_back(a.mb);
    }
    if (a.what == Do::kRecv) {
      Lane& lane = lanes_.at({a.peer, a.stage});
      p.after.push_back(lane.sent[lane.received.size()]);
      lane.received.push_back(place);
      arrivals_.insert({a.peer, a.stage, a.mb});
    }
    if (a.what == Do::kArrive) met_[size_t(p.worker)].push_back(place);
    if (a.what == Do::kAwait)
      for (const std::vector<int64_t>& places : met_) p.after.push_back(places[met_[size_t(p.worker)].size() - 1]);
    report_.order.push_back(std::move(p));
  }
  void run_forward(Placed& p, int64_t place) {
    const size_t s = size_t(p.action.stage);
    expect_next(p, next_forward_[s], "forwards run");  // feeds are asked and running statistics change in that order
    Flight& f = flights_[key(p.action, p.action.stage)];
    f.forward = place;
    f.updates = updates_[s];
    f.read = p.read = read_weights(p, wiring_.forward, {});
    live_[s].insert(p.action.mb);
    report_.live_peak[s] = std::max(report_.live_peak[s], int(live_[s].size()));
    forwards_[s] = p.action.mb + 1;
    hold_forecast(s, p.read);
  }
  void run_again(Placed& p, int64_t place) {
    Flight& f = flights_.at(key(p.action, p.action.stage));
    if (f.backward_input >= 0) fail(p, "its backward has run");
    f.again = place;
    const bool as_forward = wiring_.recompute == Pass::kForward;
    p.read = read_weights(p, as_forward ? forward_weights : wiring_.backward, f.read);
  }
  /// The update foretells what the next forward reads, as far as it is known.
  void foretell_next(const Placed& p) {
    const size_t s = size_t(p.action.stage);
    if (forwards_[s] >= run_.mbs) return;
    const WeightRead next = wiring_.forward(pass_at(p, forwards_[s], {}));
    if (next.version == updates_[s]) hold_forecast(s, next);
  }
  /// One more than those that recomputations of micro-batches on their way will read.
  void hold_forecast(size_t s, const WeightRead& read) {
    if (read.ahead == 0) return;
    std::set<std::pair<int64_t, int64_t>> alive{{read.version, read.ahead}};
    if (report_.recomputed[s] && wiring_.recompute == Pass::kForward)
      for (const int64_t mb : live_[s]) {
        const WeightRead& of = flights_.at({int(s), mb, 0}).read;
        if (of.ahead > 0) alive.insert({of.version, of.ahead});
      }
    int& held = report_.forecasts_held[s].forward;
    held = std::max(held, int(alive.size()));
  }
  void run_backward(Placed& p, int64_t place) {
    const size_t s = size_t(p.action.stage);
    Flight& f = flights_.at(key(p.action, p.action.stage));
    f.backward_input = place;
    const int64_t stale = updates_[s] - f.updates;
    report_.staleness = std::max(report_.staleness, stale);
    if (wiring_.synchronous && stale > 0)
      fail(p, str(stale, " updates since its forward, a synchronous rule allows none"));
    p.read = read_weights(p, wiring_.backward, f.read);
    if (p.read.ahead > 0 && wiring_.backward != forward_weights) report_.forecasts_held[s].backward = 1;
  }
  PassAt pass_at(const Placed& p, int64_t mb, const WeightRead& forward) const {
    return {.worker = p.worker,
            .workers = int(run_.programs.size()),
            .mb = mb,
            .mbs_per_step = run_.mbs_per_step,
            .updates = updates_[size_t(p.action.stage)],
            .forward = forward};
  }
  WeightRead read_weights(const Placed& p, WeightsRead rule, WeightRead forward) {
    const size_t s = size_t(p.action.stage);
    const WeightRead read = rule(pass_at(p, p.action.mb, forward));
    if (read.version < 0 || read.version > updates_[s])
      fail(p, str("it reads weights of ", read.version, " updates, the stage has made ", updates_[s]));
    if (read.ahead > 0 && read.version < updates_[s]) report_.forecasts_late[s] = true;
    if (read.ahead == 0)
      report_.versions_held[s] = std::max(report_.versions_held[s], int(updates_[s] - read.version) + 1);
    return read;
  }
  void end_backward(Placed& p, int64_t place) {
    const size_t s = size_t(p.action.stage);
    Flight& f = flights_.at(key(p.action, p.action.stage));
    f.done = place;
    if (p.action.what == Do::kBackwardWeight) p.read = report_.order[size_t(f.backward_input)].read;
    expect_next(p, next_gradient_[s], "gradients are added");
    if (const int all = wiring_.instances.count(p.action.stage, run_.mbs_per_step); ++in_step_[s] > all)
      fail(p, str("more than ", all, " gradients without an update"));
    live_[s].erase(p.action.mb);
    free_slots(p.action, place);
  }
  /// That the action's micro-batch is the next that its instance computes.
  void expect_next(const Placed& p, int64_t& next, const char* what) {
    while (!wiring_.instances.computes(p.action.stage, next)) ++next;
    if (p.action.mb != next) fail(p, str(what, " in ascending order, expected micro-batch ", next));
    ++next;
  }
  void free_slots(const Action& a, int64_t place) {
    for (auto& entry : lanes_) {
      if (!paper::lets_go(a, entry.first, wiring_)) continue;
      Lane& lane = entry.second;
      for (size_t k = lane.received.size(); k-- > 0;)
        if (lane.mbs[k] == a.mb) {
          lane.freed[int64_t(k)] = place;
          break;
        }
    }
  }

  Run run_;
  const Wiring& wiring_;
  Report report_;
  std::map<ChannelKey, Lane> lanes_;
  std::map<Key, Flight> flights_;
  std::set<std::tuple<int, int, int64_t>> arrivals_;  // from, to, micro-batch
  std::vector<int64_t> updates_, next_forward_, next_gradient_, in_step_;
  std::vector<int64_t> forwards_;  // by stage: one more than the last forward's micro-batch
  std::vector<bool> summed_;       // by instance: since its last update
  std::vector<std::set<int64_t>> live_;
  std::vector<std::vector<int64_t>> met_;  // by worker: places of its arrivals
};

}  // namespace

Report validate(const Plan& plan, const Wiring& wiring, int64_t mbs) {
  Run run = paper::unroll(plan, wiring, mbs);
  paper::expect_complete(run, wiring);
  paper::expect_matching_transfers(run);
  return Walk(std::move(run), wiring).finish();
}

}  // namespace sluice
