// Inserts sends and receives from the placement that the plan implies.
#include "pipeline/transfers.h"

namespace sluice {
namespace {

void put(std::vector<Action>& to, Do what, const Action& of, int peer) {
  Action a = act(what, of.stage, of.mb, peer);
  a.view = of.view;
  to.push_back(a);
}

std::vector<Action> with_transfers(const std::vector<Action>& actions, const Wiring& wiring,
                                   const Placement& placement) {
  const auto apart = [&](const Edge& e) { return placement[size_t(e.from)] != placement[size_t(e.to)]; };
  std::vector<Action> out;
  for (const Action& a : actions) {
    const bool forward = a.what == Do::kForward;
    const bool backward = a.what == Do::kBackward || a.what == Do::kBackwardInput;
    for (const Edge& e : wiring.edges) {
      if (!apart(e)) continue;
      if (forward && e.to == a.stage) put(out, Do::kRecv, a, e.from);
      if (backward && e.from == a.stage && wiring.gradient_crosses(e)) put(out, Do::kRecv, a, e.to);
    }
    out.push_back(a);
    for (const Edge& e : wiring.edges) {
      if (!apart(e)) continue;
      if (forward && e.from == a.stage) put(out, Do::kSend, a, e.to);
      if (backward && e.to == a.stage && wiring.gradient_crosses(e)) put(out, Do::kSend, a, e.from);
    }
  }
  return out;
}

}  // namespace

Plan add_transfers(const Plan& plan, const Wiring& wiring) {
  const Placement placement = placement_of(plan);
  for (const Edge& e : wiring.edges)
    if (e.from < 0 || e.from >= e.to || e.to >= int(placement.size()))
      throw ScheduleError(str("wiring: edge from stage ", e.from, " to ", e.to, ", the plan has ", placement.size(),
                              " stages and edges go forwards"));
  Plan out = plan;
  for (Program& p : out)
    for (std::vector<Action>* part : {&p.prologue, &p.period, &p.epilogue})
      *part = with_transfers(*part, wiring, placement);
  return out;
}

}  // namespace sluice
