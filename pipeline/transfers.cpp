// Inserts sends and receives from the placement that the plan implies.
#include "pipeline/transfers.h"

#include <algorithm>

namespace sluice {
namespace {

void put(std::vector<Action>& to, Do what, const Action& of, int peer) {
  Action a = act(what, of.stage, of.mb, peer);
  a.view = of.view;
  to.push_back(a);
}

/// Where in `actions` the gradients of a's instance, which a reduces, are complete: behind its last backward before a.
size_t end_of_gradients(const std::vector<Action>& actions, size_t a) {
  size_t i = a;
  while (i > 0 && !(actions[i - 1].stage == actions[a].stage &&
                    (actions[i - 1].what == Do::kBackward || actions[i - 1].what == Do::kBackwardWeight)))
    --i;
  return i > 0 ? i : a;
}

/// The first instance of a stage gets the gradients of the others and gives them the sum. They send as soon as they
/// can, and wait as late.
std::vector<Action> with_sums(const std::vector<Action>& actions, const Instances& instances,
                              const Placement& placement) {
  std::vector<std::vector<Action>> before(actions.size());
  std::vector<Action> out;
  for (size_t i = 0; i < actions.size(); ++i)
    if (const Action& a = actions[i]; a.what == Do::kReduceGrad && !instances.is_first(a.stage))
      if (const int first = instances.stage(a.stage); placement[size_t(first)] != placement[size_t(a.stage)])
        put(before[end_of_gradients(actions, i)], Do::kSend, a, first);
  for (size_t i = 0; i < actions.size(); ++i) {
    const Action& a = actions[i];
    out.insert(out.end(), before[i].begin(), before[i].end());
    std::vector<int> others;
    if (a.what == Do::kReduceGrad)
      for (const int other : instances.replicas(a.stage))
        if ((instances.is_first(a.stage) || instances.is_first(other)) &&
            placement[size_t(other)] != placement[size_t(a.stage)])
          others.push_back(other);
    for (const int other : others) put(out, Do::kRecv, a, other);
    out.push_back(a);
    if (instances.is_first(a.stage))
      for (const int other : others) put(out, Do::kSend, a, other);
  }
  return out;
}

std::vector<Action> with_transfers(const std::vector<Action>& actions, const Wiring& wiring,
                                   const Placement& placement) {
  const auto apart = [&](const Edge& e) { return placement[size_t(e.from)] != placement[size_t(e.to)]; };
  std::vector<Action> out;
  for (const Action& a : actions) {
    const bool forward = a.what == Do::kForward;
    const bool backward = a.what == Do::kBackward || a.what == Do::kBackwardInput;
    for (const Edge& e : wiring.edges) {
      if (!apart(e) || !wiring.carries(e, a.mb)) continue;
      if (forward && e.to == a.stage) put(out, Do::kRecv, a, e.from);
      if (backward && e.from == a.stage && wiring.gradient_crosses(e)) put(out, Do::kRecv, a, e.to);
    }
    out.push_back(a);
    for (const Edge& e : wiring.edges) {
      if (!apart(e) || !wiring.carries(e, a.mb)) continue;
      if (forward && e.from == a.stage) put(out, Do::kSend, a, e.to);
      if (backward && e.to == a.stage && wiring.gradient_crosses(e)) put(out, Do::kSend, a, e.from);
    }
  }
  return out;
}

}  // namespace

Plan add_transfers(const Plan& plan, const Wiring& wiring) {
  const Placement placement = placement_of(plan);
  expect_instances(wiring, placement.size());
  for (const Edge& e : wiring.edges)
    if (e.from < 0 || e.to < 0 || std::max(e.from, e.to) >= int(placement.size()) ||
        wiring.instances.stage(e.from) >= wiring.instances.stage(e.to))
      throw ScheduleError(str("wiring: edge from stage ", e.from, " to ", e.to, ", the plan has ", placement.size(),
                              " stages and edges go forwards"));
  Plan out = plan;
  for (Program& p : out)
    for (std::vector<Action>* part : {&p.prologue, &p.period, &p.epilogue})
      *part = with_transfers(with_sums(*part, wiring.instances, placement), wiring, placement);
  return out;
}

}  // namespace sluice
