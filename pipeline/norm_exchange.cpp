// Puts the meetings in.
#include "pipeline/norm_exchange.h"

#include <algorithm>
#include <set>

#include "engine/error.h"

namespace sluice {
namespace {

bool is_update(const Action& a) { return a.what == Do::kUpdate; }

std::vector<Action> with_meetings(const std::vector<Action>& actions, size_t stages, size_t worker) {
  std::vector<Action> all;
  for (auto a = actions.begin(); a != actions.end();) {
    if (is_meeting(a->what)) throw ScheduleError("clipping by a common norm: the plan has meetings of its own");
    if (!is_update(*a)) {
      all.push_back(*a++);
      continue;
    }
    const auto end = std::find_if_not(a, actions.end(), is_update);
    std::set<int> updated;
    for (auto u = a; u != end && u->mb == a->mb; ++u) updated.insert(u->stage);
    if (updated.size() != stages || size_t(end - a) != stages)
      throw ScheduleError(str("worker ", worker, ", ", to_text(*a),
                              ": clipping by a common norm needs the updates of a step one behind the other, found ",
                              end - a, " of ", stages));
    for (const Do what : {Do::kArrive, Do::kAwait}) {
      all.push_back(*a);
      all.back().what = what;
    }
    all.insert(all.end(), a, end);
    a = end;
  }
  return all;
}

}  // namespace

Plan meet_before_updates(const Plan& plan) {
  const Placement placement = placement_of(plan);
  Plan met = plan;
  for (size_t w = 0; w < met.size(); ++w) {
    const auto stages = size_t(std::count(placement.begin(), placement.end(), int(w)));
    for (std::vector<Action>* part : {&met[w].prologue, &met[w].period, &met[w].epilogue})
      *part = with_meetings(*part, stages, w);
  }
  return met;
}

}  // namespace sluice
