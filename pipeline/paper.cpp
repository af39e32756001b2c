// The checks of a plan that need no order of events: completeness, matching transfers, channel sizes.
#include "pipeline/paper.h"

#include <algorithm>
#include <set>

namespace sluice::paper {
namespace {

std::map<Action, Spot> index(const Run& run) {
  std::map<Action, Spot> spots;
  for (size_t w = 0; w < run.programs.size(); ++w)
    for (size_t i = 0; i < run.programs[w].size(); ++i) {
      const Spot spot{int(w), int64_t(i), run.programs[w][i]};
      const auto [it, fresh] = spots.emplace(spot.action, spot);
      if (!fresh) fail(spot, str("doubled, first at position ", it->second.position));
    }
  return spots;
}

/// Throws with the end of the worker's program as the place.
[[noreturn]] void missing(const Run& run, const Action& a) {
  const int w = run.placement[size_t(a.stage)];
  fail({w, int64_t(run.programs[size_t(w)].size()), a}, "missing from the program");
}

class Expected {
 public:
  Expected(const Run& run, const Wiring& wiring)
      : run_(run), wiring_(wiring), spots_(index(run)), recomputed_(recomputed_stages(run)) {}

  void check() {
    for (int s = 0; s < int(run_.placement.size()); ++s) {
      for (int64_t mb = 0; mb < run_.mbs; ++mb)
        if (wiring_.instances.computes(s, mb)) expect_compute(s, mb);
      for (int64_t mb = 0; mb < run_.mbs; mb += run_.mbs_per_step) {
        expect(act(Do::kUpdate, s, mb));
        expect_sum(s, mb);
      }
    }
    for (const Edge& e : wiring_.edges)
      if (run_.crosses(e))
        for (int64_t mb = 0; mb < run_.mbs; ++mb)
          if (wiring_.carries(e, mb)) expect_transfers(e, mb);
    const Spot* extra = nullptr;  // the first of its worker
    for (const auto& [action, spot] : spots_)
      if (found_.count(action) == 0 && !is_meeting(action.what) &&
          (extra == nullptr || std::pair(spot.worker, spot.position) < std::pair(extra->worker, extra->position)))
        extra = &spot;
    if (extra != nullptr) fail(*extra, why_extra(extra->action));
  }

 private:
  bool has(const Action& a) const { return spots_.count(a) != 0; }
  void expect(const Action& a) {
    if (!has(a)) missing(run_, a);
    found_.insert(a);
  }
  void expect_compute(int s, int64_t mb) {
    expect(act(Do::kForward, s, mb));
    if (recomputed_[size_t(s)]) expect(act(Do::kRecompute, s, mb));
    if (!has(act(Do::kBackwardInput, s, mb))) return expect(act(Do::kBackward, s, mb));
    expect(act(Do::kBackwardInput, s, mb));
    expect(act(Do::kBackwardWeight, s, mb));
  }
  void expect_transfers(const Edge& e, int64_t mb) {
    expect(act(Do::kSend, e.from, mb, e.to));
    expect(act(Do::kRecv, e.to, mb, e.from));
    if (!wiring_.gradient_crosses(e)) return;
    expect(act(Do::kSend, e.to, mb, e.from));
    expect(act(Do::kRecv, e.from, mb, e.to));
  }
  void expect_sum(int s, int64_t mb) {
    const std::vector<int> replicas = wiring_.instances.replicas(s);
    if (!replicas.empty()) expect(act(Do::kReduceGrad, s, mb));
    if (!wiring_.instances.is_first(s)) return;
    for (const int other : replicas) {
      if (!run_.crosses(s, other)) continue;
      expect(act(Do::kSend, other, mb, s));
      expect(act(Do::kRecv, s, mb, other));
      expect(act(Do::kSend, s, mb, other));
      expect(act(Do::kRecv, other, mb, s));
    }
  }
  std::string why_extra(const Action& a) const {
    if (is_compute(a.what) && a.mb >= 0 && !wiring_.instances.computes(a.stage, a.mb))
      return str("not expected: another instance of stage ", wiring_.instances.stage(a.stage),
                 " computes this micro-batch");
    if (a.what == Do::kSend || a.what == Do::kRecv)
      return str("not expected: no such bundle crosses workers between stages ", a.stage, " and ", int(a.peer));
    if (a.what == Do::kReduceGrad && wiring_.instances.replicas(a.stage).empty())
      return "not expected: its stage has no other instance";
    if (a.what == Do::kUpdate || a.what == Do::kReduceGrad)
      return str("not expected: an update names the first of its ", run_.mbs_per_step, " micro-batches");
    return str("not expected in a run of ", run_.mbs, " micro-batches and one view");
  }

  const Run& run_;
  const Wiring& wiring_;
  std::map<Action, Spot> spots_;
  std::vector<bool> recomputed_;
  std::set<Action> found_;
};

}  // namespace

void fail(const Spot& at, const std::string& why) {
  throw ScheduleError(str("worker ", at.worker, ", position ", at.position, ", ", to_text(at.action), ": ", why));
}

std::vector<bool> recomputed_stages(const Run& run) {
  std::vector<bool> stages(run.placement.size(), false);
  for (const std::vector<Action>& program : run.programs)
    for (const Action& a : program)
      if (a.what == Do::kRecompute) stages[size_t(a.stage)] = true;
  return stages;
}

Run unroll(const Plan& plan, const Wiring& wiring, int64_t mbs) {
  Run run;
  run.placement = placement_of(plan);
  if (int(run.placement.size()) != wiring.stages)
    throw ScheduleError(str("plan: ", run.placement.size(), " stages, the wiring has ", wiring.stages));
  expect_instances(wiring, run.placement.size());
  run.mbs_per_step = plan.front().mbs_per_period;
  if (const auto& shares = wiring.instances.shares; !shares.empty() && int(shares[0].size()) != run.mbs_per_step)
    throw ScheduleError(
        str("plan: ", run.mbs_per_step, " micro-batches a step, the instances share ", shares[0].size()));
  int64_t outside = 0;
  for (size_t w = 0; w < plan.size(); ++w) {
    if (plan[w].mbs_per_period != run.mbs_per_step)
      throw ScheduleError(str("worker ", w, ": ", plan[w].mbs_per_period, " micro-batches per period, worker 0 has ",
                              run.mbs_per_step));
    outside = std::max(outside, mbs_outside_period(plan[w]));
  }
  const auto over = [&](int64_t count) {
    run.mbs = count;
    run.programs.clear();
    for (const Program& p : plan) run.programs.push_back(sluice::unroll(p, run.mbs));
  };
  over(mbs != 0 ? mbs : outside + 3 * run.mbs_per_step);
  // What recomputations read is told apart in full when the micro-batches of the fill are gone.
  const std::vector<bool> again = recomputed_stages(run);
  if (mbs == 0 && std::count(again.begin(), again.end(), true) > 0) over(2 * outside + 3 * run.mbs_per_step);
  return run;
}

void expect_complete(const Run& run, const Wiring& wiring) { Expected(run, wiring).check(); }

void expect_matching_transfers(const Run& run) {
  std::map<ChannelKey, std::vector<Spot>> sends, recvs;
  for (size_t w = 0; w < run.programs.size(); ++w)
    for (size_t i = 0; i < run.programs[w].size(); ++i) {
      const Action& a = run.programs[w][i];
      if (a.what == Do::kSend) sends[{a.stage, a.peer}].push_back({int(w), int64_t(i), a});
      if (a.what == Do::kRecv) recvs[{a.peer, a.stage}].push_back({int(w), int64_t(i), a});
    }
  for (const auto& entry : recvs) {
    const std::vector<Spot>& out = sends[entry.first];
    for (size_t k = 0; k < entry.second.size() && k < out.size(); ++k)
      if (entry.second[k].action.mb != out[k].action.mb)
        fail(entry.second[k], str("out of order: parcel ", k, " of this channel is ", to_text(out[k].action),
                                  " of worker ", out[k].worker, ", position ", out[k].position));
  }
}

bool lets_go(const Action& a, const ChannelKey& channel, const Wiring& wiring) {
  if (channel.second != a.stage) return false;
  const bool sums = wiring.instances.are_replicas(channel.first, channel.second);
  return sums ? a.what == Do::kReduceGrad : ends_backward(a.what);
}

std::vector<ChannelUse> size_channels(const Run& run, const Wiring& wiring) {
  std::map<ChannelKey, std::deque<std::pair<int64_t, bool>>> held;  // (micro-batch, still held), oldest first
  std::map<ChannelKey, int> window;
  for (const std::vector<Action>& program : run.programs)
    for (const Action& a : program) {
      if (a.what == Do::kRecv) {
        auto& h = held[{a.peer, a.stage}];
        h.push_back({a.mb, true});
        int& w = window[{a.peer, a.stage}];
        w = std::max(w, int(h.size()));
      }
      if (!ends_backward(a.what) && a.what != Do::kReduceGrad) continue;
      for (auto& entry : held) {
        if (!lets_go(a, entry.first, wiring)) continue;
        for (auto& parcel : entry.second)
          if (parcel.first == a.mb) parcel.second = false;
        while (!entry.second.empty() && !entry.second.front().second) entry.second.pop_front();
      }
    }
  std::vector<ChannelUse> channels;
  for (const auto& [channel, held_at_once] : window) {
    const bool sums = wiring.instances.are_replicas(channel.first, channel.second);
    const int slots = sums ? held_at_once : wiring.depth > 0 ? wiring.depth : held_at_once + 1;
    channels.push_back({channel.first, channel.second, slots});
  }
  return channels;
}

}  // namespace sluice::paper
